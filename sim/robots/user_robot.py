"""A user's own quadruped from its MJCF and a joint map, in the form of `sim.robots.go2`.

Of the MJCF its body is taken: links, joints, shapes, meshes. Its options, ground, actuators,
sensors and keyframes are left out; actuators and sensors of ours are added. A joint's sign and zero
are built into the model, so that nothing else has to know of them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np

from sim.robots.go2 import DARK, JOINTS, LEGS
from sim.robots.joint_map import JointMap, RobotError, read_joint_map
from sim.robots.quadruped import Quadruped
from sim.robots.user_robot_checks import check_body, foot_heights

PREFIX = "user/"
"""Of the names of the MJCF's own elements, so that they never clash with ours."""
PAYLOAD = "payload"


def load_robot(path: Path, world: mujoco.MjSpec, load_height: float, load_box: tuple) -> Quadruped:
    """The robot that a joint map at `path` describes, on the ground of `world`.

    load_height, load_box: of the payload's centre above the base's origin, and its half sizes [m].
    Raises RobotError naming the file and what is wrong: a name that the MJCF lacks, a joint that is
    no hinge, a sign, zero or gain that does not fit, a body that cannot stand.
    """
    found = read_joint_map(path)
    try:
        return _load(found, path.parent, world, load_height, load_box)
    except ValueError as error:
        raise RobotError(f"robot={path}: {error}") from error


def _load(
    found: JointMap, folder: Path, world: mujoco.MjSpec, load_height: float, load_box: tuple
) -> Quadruped:
    source = folder / found.model
    if not source.is_file():
        raise ValueError(f"model: no file {source}")
    try:
        spec = mujoco.MjSpec.from_file(str(source))
        # Written out below, from where relative paths would not be found.
        for key in ("meshdir", "texturedir"):
            setattr(spec, key, str((source.parent / (getattr(spec, key) or "")).resolve()))
        spec.compile()
    except ValueError as error:
        raise ValueError(f"model {source} is no MJCF that compiles: {error}") from error
    _check_names(found, spec)
    torque = found.each("torque") if found.torque is not None else _torques(found, spec)
    body = mujoco.MjSpec.from_string(_body_alone(found, spec))
    frame = world.worldbody.add_frame()
    base = frame.attach_body(body.body(found.base), PREFIX, "")
    radius = _name_feet(found, world)
    _turn_joints(found, world)
    base.name = "base"
    _shapes_meet_the_ground_alone(world)
    load = base.add_body(name=PAYLOAD, pos=(0, 0, load_height), mass=1e-3, inertia=(1e-6,) * 3)
    load.explicitinertial = True
    load.add_geom(
        name=PAYLOAD, type=mujoco.mjtGeom.mjGEOM_BOX, size=load_box, rgba=(0.75, 0.45, 0.2, 1),
        contype=0, conaffinity=0, group=1, mass=0,
    )  # fmt: skip
    _add_actuators(found, torque, world)
    _add_sensors(world)
    model = world.compile()
    low, high = model.jnt_range[1:].T.copy()
    endless = model.jnt_limited[1:] == 0
    low[endless], high[endless] = -np.pi, np.pi
    stance = found.each("stance")
    height = radius - foot_heights(model, stance).min()
    check_body(model, stance, torque, found.each("kp"), height)
    return Quadruped(model, stance, low, high, radius, height)


def _check_names(found: JointMap, spec: mujoco.MjSpec) -> None:
    """Raise ValueError where the MJCF lacks what the map names, or has more joints than it."""
    base = spec.body(found.base)
    if base is None or found.base == "world":
        names = ", ".join(body.name for body in spec.bodies[1:] if body.name)
        raise ValueError(f"base: no body {found.base!r} in the model; it has {names}")
    kinds = [joint.type for joint in base.joints]
    if kinds != [mujoco.mjtJoint.mjJNT_FREE]:
        raise ValueError(
            f"base: body {found.base!r} has {len(kinds)} joints; expected a free joint alone: add "
            "<freejoint/> to it in the MJCF"
        )
    moving = base.find_all(mujoco.mjtObj.mjOBJ_JOINT)
    joints = {joint.name: joint for joint in moving}
    for ours, name in zip(JOINTS, found.joints, strict=True):
        if name not in joints:
            raise ValueError(
                f"joints: no joint {name!r} in the model, for our {ours}; it has "
                f"{', '.join(each for each in joints if each)}"
            )
        if joints[name].type != mujoco.mjtJoint.mjJNT_HINGE:
            kind = joints[name].type.name.removeprefix("mjJNT_").lower()
            raise ValueError(f"joints: {name!r}, for our {ours}, is a {kind}; expected a hinge")
    more = [
        joint.name or f"an unnamed joint of {joint.parent.name}"
        for joint in moving
        if joint.name not in found.joints and joint.parent.name != base.name
    ]
    if more:
        raise ValueError(
            f"joints: the model has {', '.join(more)} besides the twelve; weld them in the MJCF, "
            "for no policy here moves them"
        )
    for leg in range(len(LEGS)):
        chain = [joints[name].parent for name in found.joints[3 * leg : 3 * leg + 3]]
        for upper, lower, name in zip(chain, chain[1:], found.joints[3 * leg + 1 :], strict=False):
            if upper.name not in _above(lower):
                raise ValueError(
                    f"joints: {name!r} does not hang from the joint before it; expected hip, "
                    f"thigh, calf of leg {LEGS[leg]}, from the body outwards"
                )


def _above(body: mujoco.MjsBody) -> list[str]:
    """Names of the bodies that a body hangs from."""
    names = []
    while (parent := body.parent) is not None and parent.name != "world":
        names.append(parent.name)
        body = parent
    return names


def _torques(found: JointMap, spec: mujoco.MjSpec) -> np.ndarray:
    """Torque limits (12,) that the MJCF itself sets [N·m]."""
    limits = {}
    for actuator in spec.actuators:
        gear = abs(actuator.gear[0])
        motor = actuator.biastype == mujoco.mjtBias.mjBIAS_NONE
        ends = actuator.forcerange if np.ptp(actuator.forcerange) > 0 else actuator.ctrlrange
        if np.ptp(ends) > 0 and (motor or ends is actuator.forcerange):
            limits[actuator.target] = gear * float(np.abs(ends).min())
    for joint in spec.joints:
        if np.ptp(joint.actfrcrange) > 0:
            limits[joint.name] = float(np.abs(joint.actfrcrange).min())
    missing = [name for name in found.joints if not limits.get(name)]
    if missing:
        raise ValueError(
            f"torque: the model sets no limit for {', '.join(missing)}; say torque: [hip, thigh, "
            "calf] in N·m"
        )
    return np.array([limits[name] for name in found.joints])


def _body_alone(found: JointMap, spec: mujoco.MjSpec) -> str:
    """MJCF of the base alone, its legs in our order, which is that of the joints' numbers."""
    root = ET.fromstring(spec.to_xml())  # noqa: S314  MuJoCo has just written it
    for tag in ("option", "size", "statistic", "visual", "actuator", "sensor", "keyframe",
                "contact", "custom", "extension"):  # fmt: skip
        for element in root.findall(tag):
            root.remove(element)
    order = {name: number for number, name in enumerate(found.joints)}

    def place(element: ET.Element) -> int:
        names = [joint.get("name", "") for joint in element.iter("joint")]
        return min((order[name] for name in names if name in order), default=len(order))

    for world in root.findall("worldbody"):
        for element in list(world):
            if element.tag != "body" or element.get("name") != found.base:
                world.remove(element)
        for body in world.iter("body"):
            children = body.findall("body")
            for child in children:
                body.remove(child)
            body.extend(sorted(children, key=place))
    return ET.tostring(root, encoding="unicode")


def _name_feet(found: JointMap, world: mujoco.MjSpec) -> float:
    """Give the feet our names and a site each; returns their radius [m]."""
    radii = []
    for leg, name, calf in zip(LEGS, found.feet, found.joints[2::3], strict=True):
        geom, body = world.geom(PREFIX + name), world.body(PREFIX + name)
        if geom is None and body is None:
            raise ValueError(f"feet: no geom and no body {name!r} in the model, for our {leg}")
        spheres = [g for g in (body.geoms if geom is None else [geom])
                   if g.type == mujoco.mjtGeom.mjGEOM_SPHERE]  # fmt: skip
        if len(spheres) != 1:
            raise ValueError(
                f"feet: {name!r}, for our {leg}, has {len(spheres)} spheres; expected one, whose "
                "friction and height above the ground are the foot's: add one to the MJCF"
            )
        foot = spheres[0]
        if world.joint(PREFIX + calf).parent.name not in [foot.parent.name, *_above(foot.parent)]:
            raise ValueError(f"feet: {name!r}, for our {leg}, does not hang from {calf!r}")
        foot.name, foot.priority, foot.condim = f"{leg}_foot", 1, 3
        foot.parent.add_site(name=f"{leg}_foot", pos=foot.pos, size=(0.005,) * 3, rgba=DARK)
        radii.append(float(foot.size[0]))
    if np.ptp(radii) > 1e-3:
        raise ValueError(f"feet: radii {radii} m; expected equal ones")
    return radii[0]


def _turn_joints(found: JointMap, world: mujoco.MjSpec) -> None:
    """Give the joints our names, signs and zeros: ours = sign · (its own − zero)."""
    signs, zeros = found.each("signs"), found.each("zeros")
    joints = [world.joint(PREFIX + name) for name in found.joints]
    for joint, name, sign, zero in zip(joints, JOINTS, signs, zeros, strict=True):
        joint.name = name
        joint.axis = sign * joint.axis
        joint.ref = sign * (joint.ref - zero)
        joint.springref = sign * (joint.springref - zero)
        joint.range = sorted(sign * (np.array(joint.range) - zero))


def _shapes_meet_the_ground_alone(world: mujoco.MjSpec) -> None:
    """As our own: no part of the robot touches another."""
    for geom in world.geoms:
        if geom.parent.name == "world":
            continue
        touches = geom.contype or geom.conaffinity or geom.name.endswith("_foot")
        geom.contype, geom.conaffinity = 0, int(bool(touches))


def _add_actuators(found: JointMap, torque: np.ndarray, world: mujoco.MjSpec) -> None:
    """Position control of each joint, in our order."""
    for name, kp, kd, limit in zip(JOINTS, found.each("kp"), found.each("kd"), torque, strict=True):
        actuator = world.add_actuator(
            name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT, forcelimited=True,
            forcerange=(-limit, limit),
        )  # fmt: skip
        actuator.set_to_position(kp=kp, kv=kd)


def _add_sensors(world: mujoco.MjSpec) -> None:
    """Those of `sim.robots.go2.add_quadruped`, in its order."""
    kinds = ((mujoco.mjtSensor.mjSENS_FRAMEPOS, "place"),
             (mujoco.mjtSensor.mjSENS_FRAMELINVEL, "velocity"))  # fmt: skip
    for kind, what in kinds:
        for leg in LEGS:
            world.add_sensor(
                name=f"{leg}_{what}", type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE,
                objname=f"{leg}_foot",
            )  # fmt: skip
    for name in JOINTS:
        world.add_sensor(
            name=f"{name}_torque", type=mujoco.mjtSensor.mjSENS_ACTUATORFRC,
            objtype=mujoco.mjtObj.mjOBJ_ACTUATOR, objname=name,
        )  # fmt: skip
