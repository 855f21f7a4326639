"""Training with Hugging Face's Trainer in turns, as its users run it, in the environment .peers (requirements.txt)."""

import os
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from tests.benchmarks.peers import turns


class _Turns(TrainerCallback):
    def __init__(self) -> None:
        self._worker = turns.Worker()

    def on_step_begin(self, *args: object, **kwargs: object) -> None:
        self._worker.begin_step()

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        self._worker.end_step()


def main(shape_name: str, precision: str) -> None:
    """Trains until standard input closes, without evaluation and without saving.

    The rows are tensors in memory. The loader collates them in this process, because workers make it slower.
    """
    shape = turns.SHAPES[shape_name]
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.vocabulary_size,
            n_layer=shape.num_layers,
            n_head=shape.num_heads,
            n_embd=shape.hidden_dim,
            n_positions=shape.length,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation="sdpa",
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    rows = torch.randint(shape.vocabulary_size, (512, shape.length), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            per_device_train_batch_size=shape.batch_size,
            max_steps=turns.MAX_STEPS,
            learning_rate=turns.LEARNING_RATE,
            lr_scheduler_type="cosine",
            warmup_steps=turns.WARMUP_STEPS,
            weight_decay=turns.WEIGHT_DECAY,
            adam_beta2=turns.BETA_2,
            max_grad_norm=turns.CLIP_NORM,
            save_strategy="no",
            eval_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=precision == "bfloat16",
            disable_tqdm=True,
        )
        data = [{"input_ids": row, "labels": row} for row in rows]
        Trainer(model=model, args=arguments, train_dataset=data, callbacks=[_Turns()]).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
