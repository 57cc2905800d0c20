"""The lecture's claims as experiments that anybody can rerun: ``unrolled lab``.

An experiment is a module with ``run(config, out, watch) -> Report``; the four trained ones share one.
:data:`unrolled.lab.config.EXPERIMENTS` lists them.
"""
