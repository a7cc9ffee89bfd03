"""Draw the world of Natural Earth, as the npm package world-atlas has it in TopoJSON, into one small SVG.

The projection is Web Mercator with ``WORLD`` units around the equator; ``receiver/console/static/map.js`` places the
locations by the same formula. Borders are shared arcs, so simplifying each arc once leaves no gaps between countries.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

Point = tuple[float, float]

#: The width of the world, so that one unit is about a kilometre at the equator and whole numbers are exact enough.
WORLD = 40_000

#: Mercator has no poles, and no car is charged in Antarctica.
SOUTH, NORTH = -56.0, 83.7

#: How far a simplified line may be from the real one, in units: in Europe, whose coasts and borders are seen from near,
#: and elsewhere. The file must stay below 250 kB.
TOLERANCE_EUROPE, TOLERANCE = 2.0, 11.0
EUROPE = (-12.0, 34.5, 32.0, 71.5)  # west, south, east, north

#: Islands with a smaller area, in square units, are left out: in Europe, and elsewhere.
SMALLEST_EUROPE, SMALLEST = 20.0, 600.0


def draw(topology: dict[str, Any]) -> str:
    """Return the SVG: the land as one area, and the borders between countries as one line."""
    arcs = [simplified(arc) for arc in decoded(topology)]
    rings = [
        ring
        for polygon in polygons(topology["objects"]["land"])
        for ring in (joined(arcs, indexes) for indexes in polygon)
        if len(ring) > 3 and is_shown(ring)
    ]
    land = "".join(path(ring) + "z" for ring in rings)
    borders = "".join(path(arcs[index]) for index in shared_arcs(topology) if is_inside(arcs[index]))
    top, bottom = project((0, NORTH))[1], project((0, SOUTH))[1]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 {top:.0f} {WORLD} {bottom - top:.0f}">\n'
        f'<path id="land" vector-effect="non-scaling-stroke" d="{land}"/>\n'
        f'<path id="borders" vector-effect="non-scaling-stroke" d="{borders}"/>\n'
        "</svg>\n"
    )


def decoded(topology: dict[str, Any]) -> Iterator[list[Point]]:
    """Yield the arcs of a topology as longitudes and latitudes."""
    (scale_x, scale_y), (move_x, move_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for step_x, step_y in arc:
            x, y = x + step_x, y + step_y
            points.append((x * scale_x + move_x, y * scale_y + move_y))
        yield points


def project(place: Point) -> Point:
    """Return where a longitude and a latitude, in degrees, are on the map."""
    longitude, latitude = place[0], math.radians(max(min(place[1], 85.0), -85.0))
    return (longitude + 180) / 360 * WORLD, (1 - math.asinh(math.tan(latitude)) / math.pi) / 2 * WORLD


_WEST, _NORTH = project((EUROPE[0], EUROPE[3]))
_EAST, _SOUTH = project((EUROPE[2], EUROPE[1]))


def is_in_europe(point: Point) -> bool:
    """Return whether a point of the map is in Europe."""
    return _WEST < point[0] < _EAST and _NORTH < point[1] < _SOUTH


def simplified(arc: list[Point]) -> list[Point]:
    """Project an arc, and return it without the points that change it little (Douglas and Peucker)."""
    points = [project(place) for place in arc]
    kept = {0, len(points) - 1}
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        far, index = max((distance(points[at], points[first], points[last]), at) for at in range(first + 1, last))
        if far > (TOLERANCE_EUROPE if is_in_europe(points[index]) else TOLERANCE):
            kept.add(index)
            spans += [(first, index), (index, last)]
    return [points[index] for index in sorted(kept)]


def distance(point: Point, first: Point, last: Point) -> float:
    """Return how far a point is from the line between two others."""
    along_x, along_y = last[0] - first[0], last[1] - first[1]
    length = math.hypot(along_x, along_y)
    if not length:
        return math.dist(point, first)
    return abs(along_x * (first[1] - point[1]) - (first[0] - point[0]) * along_y) / length


def polygons(geometry: dict[str, Any]) -> Iterator[list[list[int]]]:
    """Yield the polygons of a geometry, each as rings of the numbers of arcs."""
    for member in geometry.get("geometries", [geometry]):
        if member["type"] == "GeometryCollection":
            yield from polygons(member)
        elif member["type"] == "Polygon":
            yield member["arcs"]
        elif member["type"] == "MultiPolygon":
            yield from member["arcs"]


def joined(arcs: list[list[Point]], indexes: list[int]) -> list[Point]:
    """Return the points of a ring; the complement of an arc's number is the arc backwards."""
    ring: list[Point] = []
    for index in indexes:
        arc = arcs[index] if index >= 0 else arcs[~index][::-1]
        ring += arc[1:] if ring else arc
    return ring


def is_shown(ring: list[Point]) -> bool:
    """Return whether a ring is large enough, and not too far in the south."""
    pairs = zip(ring, ring[1:] + ring[:1], strict=True)
    area = abs(sum(left[0] * right[1] - right[0] * left[1] for left, right in pairs)) / 2
    return is_inside(ring) and area > (SMALLEST_EUROPE if is_in_europe(ring[0]) else SMALLEST)


def is_inside(line: list[Point]) -> bool:
    """Return whether a line is not as a whole too far in the south."""
    return min(point[1] for point in line) < project((0, SOUTH))[1]


def shared_arcs(topology: dict[str, Any]) -> list[int]:
    """Return the numbers of the arcs that two countries share."""
    uses = Counter(
        index if index >= 0 else ~index
        for polygon in polygons(topology["objects"]["countries"])
        for ring in polygon
        for index in ring
    )
    return sorted(index for index, count in uses.items() if count > 1)


def path(line: list[Point]) -> str:
    """Return a line as SVG draws it: from a point on, in steps of whole units."""
    rounded = [(round(x), round(y)) for x, y in line]
    (x, y), text = rounded[0], ""
    steps = []
    for next_x, next_y in rounded[1:]:
        if (next_x, next_y) != (x, y):
            steps.append((next_x - x, next_y - y))
            x, y = next_x, next_y
    text = "".join(f"{separated(step_x)}{step_y if step_y < 0 else f' {step_y}'}" for step_x, step_y in steps)
    return f"M{rounded[0][0]} {rounded[0][1]}l{text.lstrip()}" if steps else ""


def separated(number: int) -> str:
    """Return a number with the space that it needs after another one."""
    return str(number) if number < 0 else f" {number}"
