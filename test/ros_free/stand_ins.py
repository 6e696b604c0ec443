"""Message classes for tests without ROS: they know their fields and check every assignment."""

from array import array
from types import SimpleNamespace
from typing import ClassVar


class Stand:
    """A message with the fields that `make` gave it."""

    fields: ClassVar[dict] = {}

    def __init__(self, **values):
        for name, default in self.fields.items():
            object.__setattr__(self, name, default())
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name, value):
        wanted = type(getattr(self, name))  # AttributeError for a field that does not exist
        assert type(value) is wanted, f"{name}: {type(value).__name__} into {wanted.__name__}"
        object.__setattr__(self, name, value)


def make(**fields):
    return type("Message", (Stand,), {"fields": fields})


def bytes_field():
    return array("B")


def signed_field():
    return array("b")


Time = make(sec=int, nanosec=int)
Header = make(stamp=Time, frame_id=str)
Point = make(x=float, y=float, z=float)
Quaternion = make(x=float, y=float, z=float, w=float)
Pose = make(position=Point, orientation=Quaternion)
ColorRGBA = make(r=float, g=float, b=float, a=float)
Transform = make(translation=Point, rotation=Quaternion)
TransformStamped = make(header=Header, child_frame_id=str, transform=Transform)
MapMetaData = make(map_load_time=Time, resolution=float, width=int, height=int, origin=Pose)
Region = make(x_offset=int, y_offset=int, height=int, width=int)
KeyValue = make(key=str, value=str)
StageTime = make(stage=str, seconds=float)
Marker = make(
    header=Header, ns=str, id=int, type=int, action=int, pose=Pose, scale=Point, points=list,
    colors=list,
)  # fmt: skip

TYPES = SimpleNamespace(
    Header=Header,
    Point=Point,
    ColorRGBA=ColorRGBA,
    TransformStamped=TransformStamped,
    StageTime=StageTime,
    KeyValue=KeyValue,
    VoxelGrid=make(
        header=Header, origin=Pose, resolution=float, size_x=int, size_y=int, size_z=int,
        label_map=str, labels=bytes_field, probability=bytes_field, known=bytes_field,
    ),
    LabelMap=make(
        header=Header, name=str, ids=bytes_field, names=list, colors_rgb=bytes_field,
        free_id=int, unknown_id=int, blocking_ids=bytes_field,
    ),
    FrameLatency=make(
        header=Header, outcome=str, reason=str, stages=list,
        sets_formed=int, published=int, dropped=int,
    ),
    OccupancyGrid=make(header=Header, info=MapMetaData, data=signed_field),
    Marker=Marker,
    MarkerArray=make(markers=list),
    DiagnosticStatus=make(
        level=lambda: b"\0", name=str, message=str, hardware_id=str, values=list
    ),
    DiagnosticArray=make(header=Header, status=list),
)  # fmt: skip


def image(pixels, encoding, *, step=None, big_endian=False, data=None):
    """A sensor_msgs/Image of an array."""
    raw = pixels.tobytes() if data is None else data
    row = pixels[0].nbytes
    return SimpleNamespace(
        header=Header(),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=row if step is None else step,
        data=raw,
    )


def compressed(data, form):
    """A sensor_msgs/CompressedImage."""
    return SimpleNamespace(header=Header(), format=form, data=bytes(data))


def camera_info(P, width, height, frame_id, *, K=None, d=()):
    """A sensor_msgs/CameraInfo."""
    return SimpleNamespace(
        header=Header(frame_id=frame_id),
        width=width,
        height=height,
        k=list((P[:, :3] if K is None else K).ravel()),
        d=list(d),
        p=list(P.ravel()),
        binning_x=0,
        binning_y=0,
        roi=Region(),
    )
