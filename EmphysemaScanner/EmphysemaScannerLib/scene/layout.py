"""The reading layout: the axial slice with overlay and bare; below, the coronal one with the plots at its level."""

from __future__ import annotations

import slicer

AXIAL_VIEW, CORONAL_VIEW, BARE_VIEW = "Red", "Green", "EmphysemaScannerBare"
EVIDENCE_PLOT, CHOSEN_PLOT = "PlotView1", "PlotView2"
_SLICE_VIEW = """<view class="vtkMRMLSliceNode" singletontag="{tag}">
  <property name="orientation" action="default">{orientation}</property>
  <property name="viewlabel" action="default">{label}</property>
  <property name="viewcolor" action="default">{colour}</property>
  <property name="viewgroup" action="default">{group}</property>
</view>"""
_PLOT_VIEW = """<view class="vtkMRMLPlotViewNode" singletontag="{tag}">
  <property name="viewlabel" action="default">{label}</property>
</view>"""
_AXIAL = _SLICE_VIEW.format(tag=AXIAL_VIEW, orientation="Axial", label="R", colour="#F34A33", group=0)
# In a group of its own: the layers of linked views would be handed on to it.
_BARE = _SLICE_VIEW.format(tag=BARE_VIEW, orientation="Axial", label="CT", colour="#B0B0B0", group=1)
_CORONAL = _SLICE_VIEW.format(tag=CORONAL_VIEW, orientation="Coronal", label="G", colour="#6EB04B", group=0)
_THREE_D = """<view class="vtkMRMLViewNode" singletontag="1">
  <property name="viewlabel" action="default">1</property>
</view>"""
# Coronal view and plots are equally high: a bar lies at the level of its slice.
_LAYOUT = """<layout type="vertical" split="true">
  <item splitSize="550"><layout type="horizontal" split="true">
    <item splitSize="500">{axial}</item>
    <item splitSize="500">{beside}</item>
  </layout></item>
  <item splitSize="450"><layout type="horizontal" split="true">
    <item splitSize="420">{coronal}</item>
    <item splitSize="290">{evidence}</item>
    <item splitSize="290">{chosen}</item>
  </layout></item>
</layout>"""
_VIEWS = {
    "axial": _AXIAL,
    "coronal": _CORONAL,
    "evidence": _PLOT_VIEW.format(tag=EVIDENCE_PLOT, label="E"),
    "chosen": _PLOT_VIEW.format(tag=CHOSEN_PLOT, label="P"),
}
ROOM_ABOVE, ROOM_BELOW = 0.08, 0.15  # of a view's height
READING_LAYOUT, READING_LAYOUT_3D = 8_427, 8_428  # any numbers that no other extension uses
READING_LAYOUTS = {
    READING_LAYOUT: _LAYOUT.format(**_VIEWS, beside=_BARE),
    READING_LAYOUT_3D: _LAYOUT.format(**_VIEWS, beside=_THREE_D),
}


# Two CTs of one patient side by side. In groups of their own: the layers of linked views would be handed on to them.
EARLIER_VIEWS = ("EmphysemaScannerEarlierAxial", "EmphysemaScannerEarlierCoronal")
LATER_VIEWS = ("EmphysemaScannerLaterAxial", "EmphysemaScannerLaterCoronal")
COURSE_PLOT = "EmphysemaScannerCourse"
PAIR_LAYOUT, COURSE_LAYOUT = 8_429, 8_430  # the second where no two CTs could be registered
_COURSE = _PLOT_VIEW.format(tag=COURSE_PLOT, label="T")
_PAIR = """<layout type="vertical" split="true">
  <item splitSize="370"><layout type="horizontal" split="true">
    <item splitSize="500">{}</item>
    <item splitSize="500">{}</item>
  </layout></item>
  <item splitSize="340"><layout type="horizontal" split="true">
    <item splitSize="500">{}</item>
    <item splitSize="500">{}</item>
  </layout></item>
  <item splitSize="290">{}</item>
</layout>""".format(
    *(
        _SLICE_VIEW.format(tag=tag, orientation=orientation, label=label, colour=colour, group=group)
        for orientation, colour, k in (("Axial", "#F34A33", 0), ("Coronal", "#6EB04B", 1))
        for tag, label, group in ((EARLIER_VIEWS[k], "1", 2), (LATER_VIEWS[k], "2", 3))
    ),
    _COURSE,
)
FOLLOW_UP_LAYOUTS = {
    PAIR_LAYOUT: _PAIR,
    COURSE_LAYOUT: f'<layout type="vertical"><item>{_COURSE}</item></layout>',
}


def register_layouts(layout: slicer.vtkMRMLLayoutNode) -> None:
    """Make the reading layouts known; to be called at startup: without it a saved scene that has one opens empty.

    Args:
        layout: the scene's layout node.
    """
    for number, description in {**READING_LAYOUTS, **FOLLOW_UP_LAYOUTS}.items():
        if not layout.IsLayoutDescription(number):
            layout.AddLayoutDescription(number, description)


def use_layout(layout: slicer.vtkMRMLLayoutNode, with_3d: bool) -> None:
    """Show the reading layout: axial with overlay and bare above, coronal and two plots below.

    Args:
        layout: the scene's layout node.
        with_3d: with a 3D view in the place of the bare axial one.
    """
    register_layouts(layout)
    layout.SetViewArrangement(READING_LAYOUT_3D if with_3d else READING_LAYOUT)


def view_node(scene: slicer.vtkMRMLScene, tag: str) -> slicer.vtkMRMLSliceNode | None:
    """A slice view of the reading layout, once there is one."""
    return scene.GetSingletonNode(tag, "vtkMRMLSliceNode")


def follow_view(follower: slicer.vtkMRMLSliceNode, leader: slicer.vtkMRMLSliceNode) -> None:
    """Bring a slice view to the place and the magnification of another; nothing happens where it is there already.

    Args:
        follower: the view that moves.
        leader: the other; it may have another size in pixels.
    """
    target = slicer.util.arrayFromVTKMatrix(leader.GetSliceToRAS())
    (width, height, _depth), (columns, rows, _slices) = leader.GetFieldOfView(), leader.GetDimensions()
    own_columns, own_rows, _slices = follower.GetDimensions()
    if min(columns, rows, own_columns, own_rows) < 1:
        return
    wanted = (width * own_columns / columns, height * own_rows / rows)
    now = follower.GetFieldOfView()
    moved = abs(slicer.util.arrayFromVTKMatrix(follower.GetSliceToRAS()) - target).max() > _SAME_MM
    zoomed = max(abs(wanted[0] - now[0]), abs(wanted[1] - now[1])) > _SAME_MM
    if moved or zoomed:
        was_modifying = follower.StartModify()
        follower.GetSliceToRAS().DeepCopy(leader.GetSliceToRAS())
        follower.SetFieldOfView(*wanted, now[2])
        follower.SetXYZOrigin(*leader.GetXYZOrigin())
        follower.UpdateMatrices()
        follower.EndModify(was_modifying)


def leave_room(coronal: slicer.vtkMRMLSliceNode) -> None:
    """Show more above and below a CT that has been fitted into a view: where the plots beside it have their margins."""
    width, height, depth = coronal.GetFieldOfView()
    larger = 1 / (1 - ROOM_ABOVE - ROOM_BELOW)
    down = height * larger * (ROOM_BELOW - ROOM_ABOVE) / 2
    matrix = coronal.GetSliceToRAS()
    for row in range(3):
        matrix.SetElement(row, 3, matrix.GetElement(row, 3) - matrix.GetElement(row, 1) * down)
    coronal.SetFieldOfView(width * larger, height * larger, depth)
    coronal.UpdateMatrices()


def levels_shown(coronal: slicer.vtkMRMLSliceNode) -> tuple[float, float] | None:
    """S positions, mm, at the lower and the upper edge of an upright view; None where it isn't upright."""
    matrix = coronal.GetSliceToRAS()
    if matrix.GetElement(2, 1) < _UPRIGHT_COSINE:
        return None
    half = coronal.GetFieldOfView()[1] / 2
    centre = matrix.GetElement(2, 3) + coronal.GetXYZOrigin()[1]
    return centre - half, centre + half


_SAME_MM = 1e-3
_UPRIGHT_COSINE = 0.99
