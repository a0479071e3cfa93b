"""One network, many seeds: what is learned (`Problem`), how long (`Recipe`), and `fit`."""
