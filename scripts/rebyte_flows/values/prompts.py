"""What a prompt says about the shape of the answer, and what is wrong with the one that came."""

from __future__ import annotations

import json

from rebyte_flows.values.examples import example_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rebyte_flows.values.schema import Schema
    from rebyte_flows.values.validation import Fault

ERRORS_CHARACTERS = 1500
ENDING = "End with exactly one ```json block that holds this value, nothing after it."
TOO_LONG = (
    "Only if it is too long for an answer: write it to result.json, publish that in a zip"
    " as an artifact, and end with the name of the zip instead."
)


def shape_lines(schema: Schema) -> list[str]:
    """Return the plain lines that ask for a value of a schema."""
    if schema.root is True:
        return ["The answer has to be one JSON value.", ENDING, TOO_LONG]
    compact = json.dumps(schema.root, ensure_ascii=False, separators=(",", ":"))
    lines = ["The answer has to be one JSON value of this JSON Schema: " + compact]
    example = example_of(schema)
    if example is not None:
        lines.append("A made-up example of its shape: " + example)
    return [*lines, ENDING, TOO_LONG]


def repair_prompt(faults: Sequence[Fault]) -> str:
    """Return the prompt of a turn that sends only the errors; it holds no foreign text."""
    lines = []
    left = ERRORS_CHARACTERS
    for fault in faults:
        line = "- at %s: %s was wanted" % (fault["at"] or "the top", fault["wanted"])
        left -= len(line)
        if left < 0:
            break
        lines.append(line)
    return "\n".join(
        [
            "The value at the end of your answer is not as asked for:",
            *lines,
            "Answer with the whole corrected value in one fenced json block, nothing after it.",
        ]
    )
