"""Martensight's agent: everything that touches the lab, the clock, the disk and the network.

The way of a file, and the package of each step:

    watch        folders         → ListedFile     which files are complete
    imaging      ListedFile      → Crop           pixels, scale, and steel alone
    (model)      Field           → Prediction     structure code, saliency, out-of-distribution
    triage       Prediction      → TriageVerdict  automatic, or review, with reasons
    archive      pixels by content hash, written before the row that names them
    store        rows, and every query of the database
    pipeline     one file, from ListedFile to `done`
    orders       specimens and orders against their specification
    nightly      a night's rows  → one HTML page (reports)
    web          the pages where metallographers review flagged micrographs
    retrain      labels          → a candidate bundle, and the figures for its promotion
    roundrobin   ratings         → agreement of raters, model and microscopes
    backup       back-ups, restoring on trial, verifying rows and pixels
    evidence     anchors and time stamps of the audit log, outside the database
    delivery     mail and notices
    files        written whole, opened safely; pictures, tables, shares

`cli` and `service` are on top; `settings`, `log` and `errors` at the bottom. Each package says in
its first lines which package inside holds what.
"""
