"""Pictures that tests draw: micrographs, borders, scale bars, needles, and changed copies."""
