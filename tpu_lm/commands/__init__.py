"""The commands of `tpu-lm`, one file each.

A command's module has three names:

  HELP: one line for the list of commands.
  add_arguments(parser): what it takes.
  run(options, bindings) -> int: does it; the exit code. `bindings` are the
    `--gin.NAME=VALUE` of the command line, for commands that take gin files.

Their heavy imports wait until `run`.
"""
