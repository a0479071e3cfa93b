"""A better activation for your own network, trained by your own loop: `python examples/own_training_script.py`."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import actsmith as acts

images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
x, y = (images[order] / 16).float().view(-1, 1, 8, 8), labels[order]


def model():
    convolution = nn.Sequential(nn.Conv2d(1, 16, 3), nn.GELU(), nn.Conv2d(16, 32, 3), nn.GELU(), nn.MaxPool2d(2))
    return nn.Sequential(convolution, nn.Flatten(), nn.Linear(128, 10))


@torch.no_grad()
def accuracy(net, part):
    return (net(x[part]).argmax(1) == y[part]).float().mean().item()


def train(net, trial):
    optimizer = torch.optim.AdamW(net.parameters(), lr=trial.rate(1e-2))  # your rate, tuned for each activation
    for _ in trial.epochs(8, net, optimizer):  # goes on where it was interrupted
        for batch in torch.randperm(round(trial.share * 1000)).split(50):  # fewer examples in a cheap first look
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    return {"accuracy": accuracy(net, slice(1000, 1400))}


def test(net):
    return accuracy(net, slice(1400, None))  # read in confirmation alone


if __name__ == "__main__":  # the workers import this file
    found = acts.search(model, train, start="gelu", metric="accuracy", better="higher", test=test,
                        budget="2m", out="runs/own_training_script")  # fmt: skip
    print(found.conclusion)
