-- A script for wrk: send the requests of a file in turn, and write the measurements to another file.
-- Arguments: the file with the requests (see bench/signed.py), the file for the measurements.

local requests = {}
local sent = 0
figures_path = nil -- global, because `done` reads it

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

-- wrk calls `setup` and `done` in its main thread, which has a Lua state of its own: `done` reads
-- the path from the sending thread.
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
