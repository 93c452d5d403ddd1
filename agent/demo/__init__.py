"""A newcomer's whole loop on drawn micrographs: a pretend laboratory with a pretend microscope.

`drawing` draws a micrograph of a known structure code, `microscope` exports them the way
microscopes do, `loop` plays the night. Everything here is drawn: no figure measured on it says
how good the agent is on steel.
"""
