"""Finding a better activation for a task: the main job. `actsmith.search(...)` is `actsmith.search.run.search`."""
