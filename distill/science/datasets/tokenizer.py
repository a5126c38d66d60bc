"""A tokenizer from its ``tokenizer.json``: text to a fixed number of token ids, nothing fetched, no code run."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.contracts.models import TokensInput
from distill.science.datasets.raw import invalid

TOKENIZER_FILE = "tokenizer.json"
FIELD = "dataset.tokenizer"


@dataclass(frozen=True)
class Tokenizer:
    """Texts to rows of L token ids."""

    model: Any
    """Of the tokenizers library; cuts and pads."""
    input: TokensInput
    """Its rows, its ids (added tokens included), what it pads with, and the digest of its ``tokenizer.json``."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids, (N, L), with the special tokens that the tokenizer adds."""
        return [encoded.ids for encoded in self.model.encode_batch(list(texts))]


def read_tokenizer(folder: Path, *, length: int) -> Tokenizer:
    """The tokenizer of a folder, cutting and padding at the end to ``length`` tokens.

    The padding token is the one that ``tokenizer_config.json`` names, else the one of ``tokenizer.json``.

    Raises:
        InvalidData: there is none, it is torn, or it has no padding token.
    """
    from tokenizers import Tokenizer as Model

    file = folder / TOKENIZER_FILE
    if not file.is_file():
        raise invalid(
            FIELD, f"'{folder.name}' has no {TOKENIZER_FILE}", hint="save_pretrained of a fast tokenizer writes it"
        )
    content = file.read_bytes()
    try:
        model = Model.from_str(content.decode())
        _check_room(model, length)
        model.enable_truncation(length)
    except Exception as error:  # the library raises Exception itself
        raise invalid(FIELD, f"'{folder.name}' can't be used: {error}") from error
    pad_token = _pad_token(folder, model)
    pad_id = model.token_to_id(pad_token)
    if pad_id is None:
        raise invalid(FIELD, f"'{folder.name}' pads with '{pad_token}', which is no token of its vocabulary")
    model.enable_padding(length=length, pad_id=pad_id, pad_token=pad_token)
    # ids may have gaps: the greatest counts, not their number
    vocabulary = 1 + max(model.get_vocab(with_added_tokens=True).values())
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Tokenizer(model, TokensInput(length=length, vocabulary=vocabulary, pad_id=pad_id, tokenizer=digest))


def _check_room(model: Any, length: int) -> None:
    """Some tokenizers add tokens to every text: there must be room for one of its own beside them."""
    if length <= (added := model.num_special_tokens_to_add(is_pair=False)):
        raise ValueError(f"'length' is {length}, and the tokenizer itself adds {added} tokens to every text")


def _pad_token(folder: Path, model: Any) -> str:
    config = folder / "tokenizer_config.json"
    try:
        said = json.loads(config.read_text(encoding="utf-8")).get("pad_token") if config.is_file() else None
    except (ValueError, AttributeError) as error:
        raise invalid(FIELD, f"'{config.name}' of '{folder.name}' is torn ({error})") from error
    token = said.get("content") if isinstance(said, dict) else said
    token = token or (model.padding or {}).get("pad_token")
    if not token:
        raise invalid(
            FIELD, f"'{folder.name}' has no padding token; name one as 'pad_token' in its tokenizer_config.json"
        )
    return str(token)
