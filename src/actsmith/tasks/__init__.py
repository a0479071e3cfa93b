"""What is trained: data sets, models by plain values, and the tasks that pair them."""
