"""The experiments of the two papers, as declarations on the layers below."""
