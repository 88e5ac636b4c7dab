"""One file per engine: what Debian packages it needs, how it is made to run on such a machine, its commands.

Each offers `name`, `packages`, `open(world)`, and the commands it can do (`run_true`, `pull`, …) as Contenders.
Why each is configured as it is: the kernel here is hybrid (v1 controllers and an almost empty v2), there is no
systemd and no CAP_SYS_RESOURCE.
"""
