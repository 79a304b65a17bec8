"""Random Mistral models of a few thousand parameters: real architecture, real files, no training."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

END = 0
TEMPLATE = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}")


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte; token 0 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"</s>": END} | {symbol: number + 1 for number, symbol in enumerate(alphabet)}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="</s>", chat_template=TEMPLATE)


def model(folder: Path, seed: int, hidden_size: int = 64) -> Path:
    """A Hugging Face directory whose weights follow from `seed`. Returns the folder."""
    torch.manual_seed(seed)
    words = tokenizer()
    # The CPU attention kernels want heads of 32, 64 or more.
    config = MistralConfig(
        vocab_size=len(words), hidden_size=hidden_size, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=2048, sliding_window=None,
        bos_token_id=None, eos_token_id=END, initializer_range=0.2, tie_word_embeddings=False)
    MistralForCausalLM(config).to(torch.float32).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
