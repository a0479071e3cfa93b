"""Published experiments, one file each: `actsmith reproduce NAME`."""
