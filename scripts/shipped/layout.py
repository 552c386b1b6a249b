"""Where nodes, groups and wires stand.

Nodes stand in columns, columns in groups, groups in a row. A wire between neighbouring columns is
straight; one with a long way up or down takes it upright in the gap. A wire that goes further
climbs to a lane above the nodes, runs along it, and comes down in the gap before its target. So no
wire runs behind a node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shipped.sheet import NOTE, Node, Output, Sheet

TITLE = 30  # the height of a node's title bar
BETWEEN_NODES = 60
GAP = 90  # between columns, more where many wires come down
STEEP = 250  # the difference in height from which a wire between neighbours goes upright
DROP = 16  # between wires that come down side by side
LANE = 16  # between lanes
GROUP_TITLE = 50
CHARACTER = 14  # the width of a letter of a group's title
MARGIN = 24  # between a group's border and its nodes
PREVIEW = 270  # free space below a sampler: the page draws its preview there
MINIMUM_HEIGHT = 640
SCALE = 0.7
# Pixels of the window that the page's own bars take.
LEFT_BAR, TOP_BAR = 80, 120
COLOURS = {
    "model": "#3f789e",
    "picture": "#88A",
    "words": "#88A",
    "context": "#8A8",
    "detail": "#b58b2a",
    "sample": "#a1309b",
    "video": "#b06634",
}


@dataclass
class Group:
    """A labelled box around columns of nodes."""

    title: str
    kind: str
    columns: Sequence[Sequence[Node]]
    bounding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass
class Reroute:
    """A point that wires run through."""

    id: int
    pos: tuple[int, int]
    parent: int | None
    links: list[int] = field(default_factory=list)

    def saved(self) -> dict[str, Any]:
        """As the page saves it."""
        entry: dict[str, Any] = {"id": self.id, "pos": list(self.pos), "linkIds": self.links}
        return entry | ({"parentId": self.parent} if self.parent is not None else {})


@dataclass
class _Wire:
    """All that one output feeds by lane, or else all that it feeds upright in the next gap."""

    output: Output
    start: int
    lane: bool
    targets: list[tuple[int, int, Node, str]]  # link id, column, node, input

    @property
    def end(self) -> int:
        return max(column for _, column, _, _ in self.targets)


@dataclass
class Layout:
    """The finished picture: call `place` once, then read."""

    sheet: Sheet
    groups: Sequence[Group]
    reroutes: list[Reroute] = field(default_factory=list)
    parents: dict[int, int] = field(default_factory=dict)

    def place(self) -> None:
        """Sets the position of every node, group and reroute.

        Raises ValueError for a node outside of the groups, a wire that does not go rightwards and
        a title wider than its group.
        """
        columns = [column for group in self.groups for column in group.columns]
        where = {node.id: i for i, column in enumerate(columns) for node in column}
        if missing := [n.type for n in self.sheet.nodes if n.id not in where]:
            raise ValueError(f"in no group: {', '.join(missing)}")
        for column in columns:
            _stack(column)
        wires = self._wires(where)
        lanes = _lanes([wire for wire in wires if wire.lane])
        drops = _drops(wires)
        top = TITLE + LANE * (1 + max(lanes.values(), default=0)) + 8
        lefts = self._place_columns(columns, drops)
        self._place_groups(lefts, top)
        for wire in wires:
            if wire.lane:
                self._route(wire, -TITLE - 8 - LANE * lanes[id(wire)], lefts, drops)
            else:
                self._upright(wire, lefts, drops)

    def _wires(self, where: dict[int, int]) -> list[_Wire]:
        found: dict[tuple[int, int, bool], _Wire] = {}
        for link, output, target, name in self.sheet.links:
            start, end = where[output.node.id], where[target.id]
            if end <= start:
                raise ValueError(
                    f"{output.node.type} feeds {target.type}, which is not right of it"
                )
            lane = end > start + 1
            if lane or abs(_height_out(output) - _height_in(target, name)) > STEEP:
                key = (output.node.id, output.slot, lane)
                wire = found.setdefault(key, _Wire(output, start, lane, []))
                wire.targets.append((link, end, target, name))
        return sorted(found.values(), key=lambda w: (w.start, w.output.node.id, w.output.slot))

    def _place_columns(
        self, columns: Sequence[Sequence[Node]], drops: dict[int, list[Any]]
    ) -> list[tuple[int, int]]:
        """Sets the columns side by side; the left and right edge of each."""
        lefts, x = [], 0
        starts = {id(group.columns[0]) for group in self.groups}
        for i, column in enumerate(columns):
            if i:
                room = GAP + DROP * len(drops.get(i, ())) + (MARGIN if id(column) in starts else 0)
                x += room
            width = max(node.size[0] for node in column)
            for node in column:
                node.pos = (x, node.pos[1])
            lefts.append((x, x + width))
            x += width
        return lefts

    def _place_groups(self, edges: list[tuple[int, int]], top: int) -> None:
        bottom = max(_bottom(node) for node in self.sheet.nodes)
        bottom = max(bottom, MINIMUM_HEIGHT)
        index = 0
        for group in self.groups:
            left = edges[index][0]
            index += len(group.columns)
            right = edges[index - 1][1]
            above = top + GROUP_TITLE
            if len(group.title) * CHARACTER > right - left + 2 * MARGIN:
                raise ValueError(f"the title {group.title!r} is wider than its group")
            group.bounding = (
                left - MARGIN,
                -above,
                right - left + 2 * MARGIN,
                above + bottom + MARGIN,
            )

    def _route(
        self,
        wire: _Wire,
        lane: int,
        edges: list[tuple[int, int]],
        drops: dict[int, list[Any]],
    ) -> None:
        key = _key(wire)
        up = self._point(_drop_x(edges, drops, wire.start + 1, (*key, "up")), lane, None)
        for column in sorted({column for _, column, _, _ in wire.targets}):
            x = _drop_x(edges, drops, column, (*key, "down"))
            turn = self._point(x, lane, up)
            for link, end, node, name in wire.targets:
                if end == column:
                    y = _height_in(node, name)
                    last = self._point(x, y, turn) if y - lane > 150 else turn
                    self._through(link, last)
            up = turn

    def _upright(
        self, wire: _Wire, edges: list[tuple[int, int]], drops: dict[int, list[Any]]
    ) -> None:
        x = _drop_x(edges, drops, wire.start + 1, (*_key(wire), "up"))
        turn = self._point(x, _height_out(wire.output), None)
        for link, _, node, name in wire.targets:
            self._through(link, self._point(x, _height_in(node, name), turn))

    def _point(self, x: int, y: int, parent: Reroute | None) -> Reroute:
        made = Reroute(len(self.reroutes) + 1, (x, y), parent.id if parent else None)
        self.reroutes.append(made)
        return made

    def _through(self, link: int, last: Reroute) -> None:
        """Sends a wire through a reroute and all before it."""
        self.parents[link] = last.id
        point: Reroute | None = last
        while point is not None:
            point.links.append(link)
            point = self.reroutes[point.parent - 1] if point.parent else None

    def saved(self) -> dict[str, Any]:
        """The last parts of a workflow file."""
        groups = [saved_group(i, group) for i, group in enumerate(self.groups, 1)]
        left, top = self.groups[0].bounding[:2]
        offset = [round(LEFT_BAR / SCALE) - left, round(TOP_BAR / SCALE) - top]
        extra: dict[str, Any] = {"ds": {"scale": SCALE, "offset": offset}}
        if self.reroutes:
            extra["reroutes"] = [point.saved() for point in self.reroutes]
            extra["linkExtensions"] = [
                {"id": link, "parentId": parent} for link, parent in self.parents.items()
            ]
        return {"groups": groups, "config": {}, "extra": extra, "version": 0.4}


def saved_group(number: int, group: Group) -> dict[str, Any]:
    """A group as the page saves it."""
    return {
        "id": number,
        "title": group.title,
        "bounding": list(group.bounding),
        "color": COLOURS[group.kind],
        "font_size": 24,
        "flags": {},
    }


def _stack(column: Sequence[Node]) -> None:
    y = 0
    for node in column:
        node.pos = (0, y)
        y += node.size[1] + BETWEEN_NODES


def _height_out(output: Output) -> int:
    return output.node.pos[1] + 14 + 20 * output.slot


def _height_in(node: Node, name: str) -> int:
    return node.pos[1] + 14 + 20 * node.slot_of(name)


def _key(wire: _Wire) -> tuple[int, int, bool]:
    return wire.output.node.id, wire.output.slot, wire.lane


def _lanes(wires: Sequence[_Wire]) -> dict[int, int]:
    """A lane for each wire, 0 the lowest; wires share one where they do not meet."""
    taken: list[list[_Wire]] = []
    found = {}
    for wire in reversed(wires):
        free = [lane for lane in taken if not any(_meet(wire, other) for other in lane)]
        if not free:
            taken.append([])
        lane = free[0] if free else taken[-1]
        lane.append(wire)
        found[id(wire)] = next(i for i, other in enumerate(taken) if other is lane)
    return found


def _meet(one: _Wire, other: _Wire) -> bool:
    return one.start <= other.end and other.start <= one.end


def _drops(wires: Sequence[_Wire]) -> dict[int, list[Any]]:
    """Which wires climb or come down in the gap before each column, from left to right."""
    found: dict[int, list[Any]] = {}
    for wire in wires:
        found.setdefault(wire.start + 1, []).append((*_key(wire), "up"))
    for wire in wires:
        for column in sorted({column for _, column, _, _ in wire.targets}) if wire.lane else ():
            found.setdefault(column, []).append((*_key(wire), "down"))
    return found


def _drop_x(
    edges: list[tuple[int, int]], drops: dict[int, list[Any]], column: int, key: Any
) -> int:
    here = drops[column]
    middle = (edges[column - 1][1] + edges[column][0]) // 2
    return round(middle + DROP * (here.index(key) - (len(here) - 1) / 2))


def _bottom(node: Node) -> int:
    preview = PREVIEW if "Sampler" in node.type or "Storyboard" in node.type else 0
    return node.pos[1] + node.size[1] + (0 if node.type == NOTE else preview)
