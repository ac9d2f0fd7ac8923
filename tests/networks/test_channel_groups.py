"""Channels of largest norm: the same wherever they are added, whole groups of a pixel shuffle, and what is refused."""

import re

import pytest
import tiny
import torch
from basicsr.archs import build_network
from torch import nn
from torch.nn import functional as F

from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.channel_groups import ChannelGroups
from srkd_plugin.networks.student_init import cut_from_teacher

COMMON = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 2}
EDSR = {**tiny.STUDENT, "num_feat": 4, "num_block": 2}
RCAN = {**COMMON, "type": "RCAN", "upscale": 2, "num_group": 1, "squeeze_factor": 2}
MSR = {**COMMON, "type": "MSRResNet", "upscale": 2}
SRVGG = {"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_conv": 2, "upscale": 2}
LQ = torch.rand(1, 3, 7, 6)

GROUPS = [  # what a convolution takes and makes, written from the architectures' forward(); {} stands for its place
    (r"conv_first", "image", "trunk"),
    (r"(body\.\d+)\.conv1", "trunk", "{}"),
    (r"(body\.\d+)\.conv2", "{}", "trunk"),
    (r"conv_after_body", "trunk", "trunk"),
    (r"upsample\.0", "trunk", "up1 x"),
    (r"upsample\.2", "up1", "up2 x"),
    (r"(body\.\d+\.residual_group\.\d+)\.rcab\.0", "trunk", "{}"),
    (r"(body\.\d+\.residual_group\.\d+)\.rcab\.2", "{}", "trunk"),
    (r"(body\.\d+\.residual_group\.\d+)\.rcab\.3\.attention\.1", "trunk", "{} squeezed"),
    (r"(body\.\d+\.residual_group\.\d+)\.rcab\.3\.attention\.3", "{} squeezed", "trunk"),
    (r"body\.\d+\.conv", "trunk", "trunk"),
    (r"upconv1", "trunk", "up1 x"),
    (r"conv_hr", "up1", "hr"),
]
LAST = {"EDSR": {2: "up1", 4: "up2"}, "RCAN": {2: "up1"}, "MSRResNet": {2: "hr"}}


def groups_of(section, name):
    if name == "conv_last":
        return LAST[section["type"]][section["upscale"]], "image"
    for pattern, takes, makes in GROUPS:
        found = re.fullmatch(pattern, name)
        if found:
            place = found[1] if found.groups() else ""
            return takes.format(place), makes.format(place)
    raise AssertionError(name)


def keep_some(section, teacher, sizes, squares=4):
    """Zero all but some channels of each group, drawn at random; which ones stay, by group."""
    kept = {"image": torch.arange(3)}

    def rows(group, size):
        if group.endswith(" x"):
            return (rows(group[:-2], size // squares)[:, None] * squares + torch.arange(squares)).flatten()
        if group not in kept:
            kept[group] = torch.randperm(size)[: sizes(group)].sort().values
        return kept[group]

    for name, module in teacher.named_modules():
        if isinstance(module, nn.Conv2d):
            takes, makes = groups_of(section, name)
            mask = torch.zeros_like(module.weight)
            made, taken = rows(makes, module.out_channels), rows(takes, module.in_channels)
            mask[made[:, None], taken[None]] = 1
            module.weight.data.normal_(0, 0.3).mul_(mask)
            module.bias.data.normal_(0, 0.3).mul_(mask.flatten(1).amax(dim=1))
    return kept


CASES = [EDSR, {**EDSR, "upscale": 4}, {**EDSR, "res_scale": 0.1}, RCAN, MSR]


@pytest.mark.parametrize("section", CASES, ids=["EDSR", "EDSR x4", "EDSR res_scale", "RCAN", "MSRResNet"])
def test_where_the_other_channels_are_zero_the_student_computes_the_same(section):
    torch.manual_seed(0)
    teacher, student = build_network({**section, "num_feat": 6}).eval(), build_network({**section})
    kept = keep_some(section, teacher, lambda group: {"squeezed": 2}.get(group.split(" ")[-1], 4))
    assert any(not torch.equal(index, torch.arange(len(index))) for index in kept.values())
    cut_from_teacher(student, teacher, strongest_on=LQ)
    expected = teacher(LQ)
    assert expected.std() > 1e-3
    torch.testing.assert_close(student(LQ), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(student.conv_first.weight, teacher.conv_first.weight[kept["trunk"]])


def test_the_norm_is_that_of_all_that_makes_a_channel_in_the_blocks_that_stay():
    """The trunk of EDSR, summed by hand: its first convolution, the last of each block that stays, and the tail's."""
    torch.manual_seed(1)
    teacher, student = build_network({**EDSR, "num_feat": 9, "num_block": 4}), build_network(dict(EDSR))
    makers = [teacher.conv_first, teacher.body[0].conv2, teacher.body[2].conv2, teacher.conv_after_body]
    teacher.body[1].conv2.weight.data[0] = 100.0  # of a block that does not stay
    norms = sum(m.weight.double().abs().sum(dim=(1, 2, 3)) + m.bias.double().abs() for m in makers)
    trunk = norms.topk(4).indices.sort().values
    shuffled = teacher.upsample[0].weight.double().abs().sum(dim=(1, 2, 3)) + teacher.upsample[0].bias.double().abs()
    up = shuffled.reshape(9, 4).sum(dim=1).topk(4).indices.sort().values
    cut_from_teacher(student, teacher, strongest_on=LQ)
    assert torch.equal(student.conv_first.weight, teacher.conv_first.weight[trunk])
    assert torch.equal(student.conv_last.weight, teacher.conv_last.weight[:, up])
    rows = (up[:, None] * 4 + torch.arange(4)).flatten()
    assert torch.equal(student.upsample[0].weight, teacher.upsample[0].weight[rows][:, trunk])


def test_channels_of_equal_norm_are_the_first():
    teacher, student, first = build_network({**EDSR, "num_feat": 7}), *(build_network(dict(EDSR)) for _ in range(2))
    for p in teacher.parameters():
        p.data.fill_(0.5)
    cut_from_teacher(student, teacher, strongest_on=LQ)
    cut_from_teacher(first, teacher)
    assert all(torch.equal(first.state_dict()[name], value) for name, value in student.state_dict().items())


def test_activations_with_a_weight_per_channel_go_with_their_channels():
    torch.manual_seed(2)
    teacher, student = build_network({**SRVGG, "num_feat": 6}), build_network(dict(SRVGG))
    for p in teacher.parameters():
        p.data.normal_(0, 0.3)
    kept = [torch.randperm(6)[:4].sort().values for _ in range(3)]
    for index, (before, made) in enumerate(zip([None, *kept], [*kept, None])):
        conv = teacher.body[2 * index]
        rows = torch.arange(conv.out_channels) if made is None else made
        columns = torch.arange(3) if before is None else before
        mask = torch.zeros_like(conv.weight)
        mask[rows[:, None], columns[None]] = 1
        conv.weight.data.mul_(mask)
        conv.bias.data.mul_(mask.flatten(1).amax(dim=1))
    cut_from_teacher(student, teacher, strongest_on=LQ)
    assert torch.equal(student.body[1].weight, teacher.body[1].weight[kept[0]])
    torch.testing.assert_close(student(LQ), teacher(LQ), rtol=1e-4, atol=1e-5)


class Joined(nn.Module):
    """A network whose channels cannot be followed, or cannot be chosen alike: by what its ``kind`` says."""

    def __init__(self, features, kind):
        super().__init__()
        self.kind, more = kind, {"cat": features, "unequal": 2}.get(kind, 0)
        self.head, self.tail = nn.Conv2d(3, features, 3, padding=1), nn.Conv2d(features + more, 3, 1)
        self.depthwise = nn.Conv2d(features, features, 3, padding=1, groups=features)

    def forward(self, x):
        x = self.depthwise(self.head(x))
        if self.kind == "cat":
            x = torch.cat([x, x], dim=1)
        if self.kind == "shuffled":
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.tail(F.relu(x))


def test_one_filter_per_channel_goes_with_its_channel():
    teacher, student = Joined(6, "plain"), Joined(4, "plain")
    with torch.no_grad():
        teacher.head.weight[:2], teacher.head.bias[:2] = 0, 0
        teacher.depthwise.weight[:2], teacher.depthwise.bias[:2] = 0, 0
    cut_from_teacher(student, teacher, strongest_on=LQ)
    torch.testing.assert_close(student(LQ), teacher(LQ))


@pytest.mark.parametrize(("kind", "function"), [("cat", "cat"), ("shuffled", "reshape")])
def test_channels_that_cannot_be_followed_are_one_line(kind, function):
    with pytest.raises(OptionsError) as caught:
        cut_from_teacher(Joined(4, kind), Joined(6, kind), strongest_on=LQ)
    said = f"the channels of tail.weight cannot be chosen by their norm: {function} joins or mixes them"
    assert str(caught.value) == f"student.by = 'magnitude': {said}. Write by: first."


def test_another_number_where_channels_are_added_is_one_line():
    groups = ChannelGroups(build_network(dict(EDSR)), LQ)
    weights = build_network(dict(EDSR)).state_dict()
    groups.strongest("conv_first.weight", 0, 3, weights)
    with pytest.raises(OptionsError, match=r"conv_after_body.bias cannot .*: 2 stay here, and 3 where they are added"):
        groups.strongest("conv_after_body.bias", 0, 2, weights)
    with pytest.raises(OptionsError, match=r"of nothing.weight cannot .*: they pass no convolution that is known"):
        groups.strongest("nothing.weight", 0, 2, weights)


def test_the_network_is_left_as_it_was():
    net = build_network(dict(EDSR))
    before, state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    ChannelGroups(net, LQ)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
