"""A better activation for your own network, trained by your own loop: `python examples/own_training_script.py`."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import actsmith as acts

images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
x, y = (images[order] / 16).float().view(-1, 1, 8, 8), labels[order]
TRAIN, VALIDATION, TEST = slice(0, 1000), slice(1000, 1400), slice(1400, None)


def model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.GELU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def accuracy(net: nn.Module, part: slice) -> float:
    with torch.no_grad():
        return (net(x[part]).argmax(1) == y[part]).float().mean().item()


def train(net: nn.Module, trial) -> dict[str, float]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=trial.rate(3e-3))  # your rate, tuned for each activation
    count = round(trial.share * 1000)  # fewer examples in a cheap first look
    for _ in trial.epochs(8, net, optimizer):  # goes on where it was interrupted
        for batch in torch.randperm(count).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[TRAIN][batch]), y[TRAIN][batch]).backward()
            optimizer.step()
        trial.report(accuracy(net, VALIDATION))
    return {"accuracy": accuracy(net, VALIDATION)}


def test(net: nn.Module) -> float:
    return accuracy(net, TEST)  # read in confirmation alone


if __name__ == "__main__":
    found = acts.search(model, train, start="gelu", metric="accuracy", better="higher", test=test,
                        budget="2m", out="runs/own_training_script")  # fmt: skip
    print(found.conclusion)
