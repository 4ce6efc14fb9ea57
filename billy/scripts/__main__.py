"""``python -m billy.scripts`` is ``billy``: how ``serve`` and ``demo`` start the others with their own Python."""

from billy.scripts import main

main(prog_name="billy")
