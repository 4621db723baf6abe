"""Cut a real Gemma 3 to fewer layers and vocabulary rows, so that a CPU can train it at a recipe's widths.

    python -m benchmarks.cut_model FOLDER INTO --layers 4 --rows 58368

FOLDER is a Hugging Face folder with the SentencePiece model (`tokenizer.model`), INTO a new folder that relay loads as
`kind: gemma3`. The first layers and the first rows of the embedding are kept, and with them the merges of the tokenizer,
which are sorted by frequency; single ASCII characters, which Gemma's vocabulary has at its end, move to the last rows.
Every text can still be encoded, by bytes if need be. With both numbers cut in proportion the logits keep their share of
all FLOPs: 4 of 18 layers and 58,368 of 262,144 rows for a 270M. The texts that the cut model generates are worthless.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

LAYER = re.compile(r"\.layers\.(\d+)\.")
EMBEDDING = "embed_tokens.weight"
CHARACTER, NORMAL = 128, 1
"""End of ASCII, and SentencePiece's type of a normal piece."""


def cut(folder: Path, into: Path, layers: int, rows: int) -> None:
    """Write the cut model to `into`. Raises SystemExit if `folder` is not a Gemma 3 with so many layers and rows."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        vocabulary = _pieces(folder / "tokenizer.model")
    except OSError as error:
        raise SystemExit(f"{folder} is not a Hugging Face folder of a Gemma 3: {error}") from error
    if not (0 < layers <= config["num_hidden_layers"] and 1024 <= rows <= config["vocab_size"]):
        most = f"{config['num_hidden_layers']} layers and {config['vocab_size']} rows"
        raise SystemExit(f"{folder} has {most}: ask for at most as many, and for at least 1,024 rows")
    kept = kept_rows([(piece.piece, piece.type) for piece in vocabulary.pieces], rows)
    into.mkdir(parents=True)
    _write_weights(folder, into / "model.safetensors", layers, kept)
    pieces = [vocabulary.pieces[number] for number in kept]
    del vocabulary.pieces[:]
    vocabulary.pieces.extend(pieces)
    (into / "tokenizer.model").write_bytes(vocabulary.SerializeToString())
    config |= {"num_hidden_layers": layers, "vocab_size": len(kept)}
    config |= {"layer_types": config["layer_types"][:layers]} if "layer_types" in config else {}
    (into / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def kept_rows(pieces: list[tuple[str, int]], rows: int) -> list[int]:
    """Return the numbers of the kept pieces, at most `rows`, ascending: the first ones and all single ASCII characters.

    `pieces` are (text, SentencePiece's type of the piece) by number.
    """
    characters = [
        number
        for number, (text, kind) in enumerate(pieces)
        if kind == NORMAL and len(text) == 1 and (ord(text) < CHARACTER or text == "▁")
    ]
    first = rows - len(characters)
    return [*range(first), *(number for number in characters if number >= first)]


def _pieces(path: Path) -> Any:
    from sentencepiece import sentencepiece_model_pb2

    found = sentencepiece_model_pb2.ModelProto()
    found.ParseFromString(path.read_bytes())
    return found


def _write_weights(folder: Path, into: Path, layers: int, kept: list[int]) -> None:
    import numpy as np
    from safetensors import safe_open
    from safetensors.flax import save_file

    arrays: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "flax") as file:
            for name in sorted(file.keys()):
                layer = LAYER.search(name)
                if layer is None or int(layer[1]) < layers:
                    array = file.get_tensor(name)
                    arrays[name] = array[np.array(kept)] if name.endswith(EMBEDDING) else array
    save_file(arrays, str(into), metadata={"format": "pt"})


def main() -> int:
    """Cut the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("into", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rows", type=int, default=58_368)
    asked = parser.parse_args()
    cut(asked.folder, asked.into, asked.layers, asked.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
