# %% [markdown]
# # From a formula to a verdict

# %%
import actsmith as acts

mine = acts.Formula("x*sigmoid(b*x)", params={"b": acts.Param(1.5, learn=True)}, name="mine")
analysis = acts.analyze(mine)
analysis  # entropy, criticality, and the verdict last

# %% [markdown]
# What depth does to it, and the nearest relatives in shape:

# %%
print(analysis.judgement.sentence)
print(analysis.judgement.kin)
print("to settle it:", analysis.judgement.settle)

# %% [markdown]
# The kernel over the layers, from several inputs, at the critical start:

# %%
analysis.criticality.plot(width=6)

# %% [markdown]
# A better shape by the entropy's descent. Entropy alone orders nothing: whether it helps, training decides.

# %%
found = acts.correction("relu", "normal")
print(found.psi, found.entropy_rate.value)
found.plot(width=6)

# %% [markdown]
# The same formula for a heavier law, and an order of entropies (not of merit):

# %%
for law in ("normal", "laplace", "student:5"):
    print(law, [a.formula.name for a in acts.rank(["relu", "gelu", "silu", "tanh", mine], law)])
