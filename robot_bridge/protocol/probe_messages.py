"""What a probing episode is asked for, is told of the cell, and brings back.

The nominal socket frame is that of the bundle's observation: origin on the socket's face, z out of
it. Lengths [m], angles [rad], forces [N].
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from adapt.bundle.fields import Positive

Number = Annotated[float, Meta(ge=-1e300, le=1e300)]  # refuses NaN and infinity too
Short = Annotated[str, Meta(max_length=1000)]
Whole = Annotated[int, Meta(ge=0, le=2**31)]
Block = Literal["socket", "contact"]
Blocks = Annotated[tuple[Block, ...], Meta(max_length=2)]
Three = tuple[Number, Number, Number]


class Post(Struct, frozen=True, forbid_unknown_fields=True):
    """An upright edge of what touches: a cylinder about (x, y) in the tool's frame. radius: 0 for a
    sharp edge. end: of its lowest point; bottom: from where on its side is straight."""

    x: Number
    y: Number
    radius: Annotated[float, Meta(ge=0.0, le=1.0)]
    bottom: Number
    end: Number


class ProbeTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """What the cell is known to hold before it is touched.

    plate: half sizes along x and y of the plate around the socket, which is its middle.
    posts: of what the gripper holds. landings: (x, y) of the tool, nominal, at which these posts
    meet the face beside the slots; three that span it. across, height, yaw, tilt: how far the
    socket may lie from nominal, to either side; grasp, grasp_yaw: how far what the gripper holds
    may. stiffness: nominal, of the impedance controller along x, y, z [N/m].
    """

    plate: tuple[Positive, Positive]
    posts: Annotated[tuple[Post, ...], Meta(min_length=1, max_length=64)]
    landings: Annotated[tuple[tuple[Number, Number], ...], Meta(min_length=3, max_length=3)]
    across: Positive
    height: Positive
    yaw: Positive
    tilt: Positive
    grasp: Positive
    grasp_yaw: Positive
    stiffness: tuple[Positive, Positive, Positive]


class Level(Struct, frozen=True, forbid_unknown_fields=True):
    """Means at rest, or in a slide. pose: x, y, z, yaw, pitch, roll of the tool. force: that the
    robot exerts, in the socket's frame, less what it measured in the air. lead: of the reference
    before the measured position."""

    pose: tuple[Number, Number, Number, Number, Number, Number]
    force: Three
    lead: Three


class Touch(Struct, frozen=True, forbid_unknown_fields=True):
    """One contact, pressed twice. surface: face, x-, x+, y- or y+. direction: of the approach."""

    surface: Literal["face", "x-", "x+", "y-", "y+"]
    direction: Three
    light: Level
    firm: Level


class ProbeReport(Struct, frozen=True, forbid_unknown_fields=True):
    """A probing episode. problem: why it is of no use, or "". slides: there and back on the face.
    peak_force: greatest of all [N]. seconds: of the robot's time."""

    target: ProbeTarget | None
    touches: Annotated[tuple[Touch, ...], Meta(max_length=64)]
    slides: Annotated[tuple[Level, ...], Meta(max_length=64)]
    problem: Short
    peak_force: Number
    seconds: Number
