# %% [markdown]
# # What a network's activations see

# %%
import torch
from torch import nn

import actsmith as acts

torch.manual_seed(0)
net = nn.Sequential(
    nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
)
x = torch.randn(1000, 16)
seen = acts.probe(net, x)
seen

# %%
seen.plot(width=6)

# %% [markdown]
# The law that was measured at a site stands wherever a law is taken:

# %%
print(acts.analyze("gelu", next(iter(seen.values()))).entropy)
print(acts.advise(net, x)[0].text)

# %% [markdown]
# Exchange GELU for SiLU; the swap is proven by running both, and can be undone:

# %%
swaps = acts.replace_(net, "silu", where="gelu", example=x[:4])
swaps

# %% [markdown]
# A start for what is there now, and what became of K:

# %%
print(acts.nn.critical_init_(net, example=x))
print(acts.probe(net, x).verdict)
swaps.undo()
