"""Golden numbers of the stand-alone self-attention network, written from the paper's text (arXiv 1906.05909, section 3.1 and 3.2): a
neighbourhood gathered by unfold, cells outside of the map masked. Public code is no reference: what is copied most softmaxes every channel.
See common.py."""
import torch
import torch.nn.functional as F
from torch import nn

from common import write

FACTS = {"torch": torch.__version__}


class Position(nn.Module):
    def __init__(self, kernel, width):
        super().__init__()
        self.rel_h, self.rel_w = (nn.Parameter(torch.zeros(kernel, width // 2)) for _ in range(2))


class Local(nn.Module):
    def __init__(self, dim, heads, kernel):
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.position = Position(kernel, dim // heads)

    def forward(self, x):
        B, C, h, w = x.shape
        k, d = self.kernel, C // self.heads
        q, key, v = self.qkv(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).chunk(3, dim=1)

        def around(t):  # (B, heads, d, k k, h w)
            return F.unfold(t, k, padding=k // 2).reshape(B, self.heads, d, k * k, h * w)

        q = q.reshape(B, self.heads, d, h * w)
        rows, columns = self.position.rel_h, self.position.rel_w
        r = torch.cat([rows[:, None].expand(k, k, d // 2), columns[None].expand(k, k, d // 2)], dim=-1).reshape(k * k, d)
        score = torch.einsum("bhdn,bhdkn->bhkn", q, around(key)) + torch.einsum("bhdn,kd->bhkn", q, r)
        inside = F.unfold(torch.ones_like(x[:, :1]), k, padding=k // 2)[:, None] > 0
        share = score.masked_fill(~inside, -torch.inf).softmax(dim=2)
        return torch.einsum("bhkn,bhdkn->bhdn", share, around(v)).reshape(B, C, h, w)


class Block(nn.Module):
    def __init__(self, inside, dim, stride, heads, kernel, expansion):
        super().__init__()
        out = expansion * dim
        self.conv1, self.bn1 = nn.Conv2d(inside, dim, 1, bias=False), nn.BatchNorm2d(dim)
        self.attn = Local(dim, heads, kernel)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.bn2 = nn.BatchNorm2d(dim)
        self.conv3, self.bn3 = nn.Conv2d(dim, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.pool(self.attn(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(F.relu(self.bn2(y)))))


class Net(nn.Module):
    def __init__(self, widths, heads, kernel, expansion, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0])
        inside = widths[0]
        for i, dim in enumerate(widths):
            setattr(self, f"layer{i + 1}", nn.Sequential(Block(inside, dim, 2 if i else 1, heads, kernel, expansion)))
            inside = expansion * dim
        self.stages = len(widths)
        self.fc = nn.Linear(inside, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))


def decays(name, p):
    return p.ndim > 1 and "rel_" not in name


# the first map, 12 x 8 and then 6 x 4, has more than 8 k^2 cells: neighbourhoods are cut out; the second is one masked matrix
write("sasa_net_train", Net((4, 8), 2, 3, 2, 5), (2, 3, 24, 16), 5, FACTS, train=True, decays=decays)
