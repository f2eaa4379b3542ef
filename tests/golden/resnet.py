"""Golden numbers of ResNet, by torchvision's blocks in narrow networks. See common.py."""
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from safetensors.torch import load_file, save_file

from common import DATA, trace, write

FACTS = {"torchvision": torchvision.__version__, "torch": torch.__version__}


class Zeros(nn.Module):
    """Shortcut A, which torchvision does not have: every second cell, zeros behind the old channels."""

    def __init__(self, more):
        super().__init__()
        self.more = more

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.more))


class Narrow(ResNet):
    """torchvision's forward with stages of our widths."""

    def __init__(self, depths, widths, stem, shortcut, classes):
        nn.Module.__init__(self)
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = widths[0], 1, 1, 64
        imagenet = stem == "imagenet"
        self.conv1 = nn.Conv2d(3, widths[0], 7 if imagenet else 3, stride=2 if imagenet else 1, padding=3 if imagenet else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        for i in range(4):
            present = i < len(depths)
            layer = self._make_layer(BasicBlock, widths[i], depths[i], stride=2 if i else 1) if present else nn.Identity()
            if present and shortcut == "A" and i:
                layer[0].downsample = Zeros(widths[i] - widths[i - 1])
            setattr(self, f"layer{i + 1}", layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], classes)


# a map whose sides are odd when they are halved
write("resnet_b", Narrow((1, 2), (4, 8), "cifar", "B", 5), (3, 3, 9, 14), 5, FACTS)
write("resnet_b_train", Narrow((1, 2), (4, 8), "cifar", "B", 5), (3, 3, 9, 14), 5, FACTS, train=True)
write("resnet_a_train", Narrow((1, 1, 1), (4, 6, 8), "cifar", "A", 5), (3, 3, 12, 10), 5, FACTS, train=True)
write("resnet_imagenet", Narrow((1, 1, 1, 1), (4, 6, 6, 8), "imagenet", "B", 5), (2, 3, 32, 40), 5, FACTS)


def of_a_large_batch(kind=torch.float64):
    """resnet_b's weights, ten steps of SGD (lr 0.02, momentum 0.9) on a batch of 128 made images, whose statistics BatchNorm takes: the losses, and
    what the running statistics then give. Image numbers are ((7919 i) mod 257) / 128 - 1 in the order (B, H, W, C), labels i mod 5.
    AdamW, whose steps are of equal size for gradients near 0, takes PyTorch's own float32 6e-4 away from its float64 here, SGD 6e-5 (the logits after it: 0.2 %)."""
    model = Narrow((1, 2), (4, 8), "cifar", "B", 5)
    model.load_state_dict(load_file(DATA / "resnet_b.weights.safetensors"), strict=False)
    model = model.to(kind).train()
    x = ((7919 * torch.arange(128 * 9 * 14 * 3)) % 257).to(kind) / 128 - 1
    x, labels = x.reshape(128, 9, 14, 3).permute(0, 3, 1, 2), torch.arange(128) % 5
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(x), labels, label_smoothing=0.1)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return {"trace": torch.tensor(losses, dtype=torch.float64), "logits": model.eval()(x[:4]).detach()}


save_file(of_a_large_batch(), DATA / "resnet_batch.golden.safetensors", metadata=FACTS)
