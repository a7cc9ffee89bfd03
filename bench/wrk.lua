-- For wrk: sends the requests of a file in turn, and writes the figures to another.
-- Arguments: the requests (see bench/signed.py), the file for the figures.

local requests = {}
local sent = 0
figures_path = nil -- global: `done` asks for it

function init(args)
   figures_path = args[2]
   local file = assert(io.open(args[1], "rb"))
   while true do
      local length = file:read("*l")
      if not length then break end
      requests[#requests + 1] = file:read(tonumber(length))
   end
   file:close()
end

function request()
   sent = sent + 1
   return requests[(sent - 1) % #requests + 1]
end

-- Called in wrk's main thread, whose Lua state is not the sending one's: it learns the
-- path from the thread.
function setup(thread)
   sender = thread
end

function done(summary, latency, _)
   local file = assert(io.open(sender:get("figures_path"), "w"))
   local errors = summary.errors
   file:write(string.format(
      '{"answers": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
   file:close()
end
