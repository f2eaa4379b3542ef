"""Golden numbers of the network of Jordan's CIFAR-10 speedruns, written from arXiv 2404.00498 in narrow widths. See common.py."""
import torch
from torch import nn

from common import write

FACTS = {"torch": torch.__version__}


class Norm(nn.BatchNorm2d):
    """With an offset and a factor that is not trained."""

    def __init__(self, width):
        super().__init__(width, eps=1e-12, momentum=0.4)
        self.weight.requires_grad_(False)


class Group(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(i, after, 3, padding=1, bias=False) for i in (before, after))
        self.norm1, self.norm2 = Norm(after), Norm(after)
        self.pool, self.act = nn.MaxPool2d(2), nn.GELU()

    def forward(self, x):
        return self.act(self.norm2(self.conv2(self.act(self.norm1(self.pool(self.conv1(x)))))))


class Network(nn.Module):
    def __init__(self, widths, classes, kernel=2, channels=3, scale=1 / 9):
        super().__init__()
        whitened = 2 * channels * kernel * kernel
        self.whiten = nn.Conv2d(channels, whitened, kernel)
        self.whiten.weight.requires_grad_(False)
        groups = [Group(a, b) for a, b in zip((whitened, *widths), widths)]
        self.layers = nn.Sequential(nn.GELU(), *groups, nn.MaxPool2d(3), nn.Flatten())
        self.head = nn.Linear(widths[-1], classes, bias=False)
        self.scale = scale

    def forward(self, x):
        return self.head(self.layers(self.whiten(x))) * self.scale


def maps(net, x):
    x = net.layers[0](net.whiten(x))
    for group in net.layers[1:-2]:
        x = group(x)
        yield x


# sides that are odd when they are halved: 13 -> 12 -> 6 -> 3 and 16 -> 15 -> 7 -> 3
write("airbench", Network((6, 8), 5), (3, 3, 13, 16), 5, FACTS, features=maps)
write("airbench_train", Network((6, 8), 5), (4, 3, 13, 16), 5, FACTS, train=True)
write("airbench_three", Network((4, 6, 6), 5, kernel=3, channels=2, scale=0.5), (3, 2, 28, 31), 5, FACTS, train=True)
