# %% [markdown]
# # A small search
#
# Twenty seconds on a regression of ten variables; a real one takes a budget of minutes or hours.

# %%
import tempfile
from pathlib import Path

import actsmith as acts

folder = Path(tempfile.mkdtemp()) / "friedman"
found = acts.search("friedman", start="relu", budget="25s", seeds=3, out=folder)
found

# %% [markdown]
# One sentence says what was found; in so short a time mostly that it is not decided.

# %%
print(found.conclusion)
found.plot(width=6)

# %% [markdown]
# What it wrote: the page, the data, and a module that needs torch alone.

# %%
from actsmith.report import render

print([path.name for path in render(folder)])
print((folder / "best.py").read_text()[:400])
