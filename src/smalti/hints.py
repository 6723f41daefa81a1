"""What a key that no settings have was meant to be: others' words for it, its last part, its letters."""

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 3  # keys that are as likely
# ours -> the words of taming-transformers and its kin; of several keys with a word the first that is there
_OTHERS = {
    "network.width": "ch nf base_channels base_width hidden_dim hidden_channels",
    "network.multipliers": "ch_mult channel_mult channel_multipliers ch_mults",
    "network.blocks": "num_res_blocks n_res_blocks res_blocks layers_per_block",
    "network.attention_levels": "attn_resolutions attention_resolutions attention_at attn_levels attn_at",
    "network.latent_channels": "z_channels latent_dim z_dim",
    "network.code_dim": "embed_dim embedding_dim e_dim codebook_dim codebook_embed_dim codebook_width",
    "network.in_channels": "channels image_channels",
    "network.out_channels": "out_ch",
    "quantizer.codebook_size": "n_embed n_e num_embeddings n_codes num_codes num_codebook_vectors"
    " num_vq_embeddings vocab_size codes",
    "quantizer.commitment": "beta commitment_cost commitment_weight commit_weight",
    "quantizer.codebook": "codebook_weight",
    "losses.l1": "mae pixelloss_weight rec_weight reconstruction_weight l1_weight",
    "losses.l2": "mse mse_weight l2_weight",
    "losses.perceptual.weight": "perceptual_weight lpips lpips_weight p_weight",
    "losses.adversarial.weight": "disc_weight discriminator_weight disc_factor gan gan_weight adv_weight",
    "losses.adversarial.start": "disc_start discriminator_iter_start gan_start",
    "losses.adversarial.objective": "disc_loss gan_loss adv_loss",
    "losses.adversarial.patchgan": "discriminator disc critic",
    "losses.adversarial.patchgan.layers": "disc_num_layers disc_layers n_layers_d",
    "losses.adversarial.patchgan.width": "ndf disc_ndf disc_width",
    "losses.adversarial.patchgan.norm": "use_actnorm",
    "losses.adversarial": "adversarial_loss",
    "discriminator_optimizer.lr": "disc_lr critic_lr lr_d",
    "optimizer.lr": "learning_rate base_learning_rate base_lr",
    "optimizer.betas": "beta1 beta2 adam_betas",
    "optimizer.schedule": "scheduler lr_scheduler scheduler_config",
    "optimizer.warmup": "warmup_steps warm_up_steps warmup_iters lr_warmup_steps",
    "optimizer.weight_decay": "wd",
    "steps": "epochs num_epochs max_epochs iterations iters max_iters max_steps num_steps total_steps"
    " train_steps max_train_steps",
    "batch": "batch_size bs train_batch_size",
    "size": "image_size img_size resolution crop_size res",
    "workers": "num_workers n_workers",
    "clip": "grad_clip clip_grad gradient_clip_val max_grad_norm",
    "accumulate": "accumulate_grad_batches grad_accum gradient_accumulation_steps",
    "recompute": "gradient_checkpointing grad_checkpointing use_checkpoint",
    "ema": "ema_decay use_ema",
    "precision": "fp16 bf16 amp half mixed_precision",
    "device": "gpus gpu devices accelerator",
    "seed": "random_seed manual_seed",
    "init_from": "ckpt_path pretrained init_from_ckpt finetune_from from_pretrained",
    "checkpoint_every": "save_every save_freq ckpt_every",
    "validate_every": "eval_every val_every check_val_every_n_epoch",
    "log_every": "log_freq log_interval",
    "validate_metrics": "metrics val_metrics eval_metrics",
    "keep_best": "monitor save_best save_best_only metric_for_best_model load_best_model_at_end",
    "prior.layers": "n_layer n_layers num_layers depth",
    "prior.heads": "n_head n_heads num_heads nhead",
    "prior.width": "n_embd d_model dim hidden_size embed_dim",
    "prior.embedding_dropout": "embd_pdrop",
    "prior.residual_dropout": "resid_pdrop dropout",
    "prior.attention_dropout": "attn_pdrop",
    "tokenizer": "vqgan vae first_stage first_stage_config tokenizer_path",
    "condition.classes": "num_classes n_classes",
    "condition.dropout": "label_dropout class_dropout_prob cond_drop_prob cfg_dropout",
    "data.root": "path dir folder train data_dir data_root data_path dataset train_dir train_data",
    "data.val": "val_dir val_path val_data validation test",
    "data.val_share": "val_split val_ratio val_fraction test_size validation_split",
    "data.range": "white black white_level black_level white_point vmin vmax min_value max_value value_range"
    " percentile percentiles clip_range",
    "crop.flip": "hflip horizontal_flip random_flip",
    "--out": "output output_dir out_dir logdir log_dir save_dir",
    "--resume": "resume_from resume_from_checkpoint checkpoint",
}
# settings whose form a person may not guess, as they are typed
FORMS = {
    "data.range": "data.range='[0, 4095]' or data.range='{percentiles: [0.5, 99.5]}'",
    "data.bands": "data.bands='[0, 1, 2]' or data.bands=gray",
    "size": "size=256 or size=192x256, or several: size=64x64,48x80",
    "optimizer.betas": "optimizer.betas='[0.5, 0.9]'",
    "precision": "precision=bf16, fp16, fp32 or auto",
    "crop.scale": "crop.scale='[1.0, 1.25]'",
    "network.multipliers": "network.multipliers='[1, 2, 4]' (one a level)",
    "network.attention_levels": "network.attention_levels='[2]' (levels from 0; '[]' for none)",
    "steps": "steps=20000 (of one batch each)",
    "validate_metrics": "validate_metrics='[psnr, lpips_vgg]'",
    "keep_best": "keep_best=psnr (a metric)",
}


def find(wrong: str, known: Sequence[str], *, by_letters: bool = True) -> list[str]:
    """Give the keys that a wrong one may have been meant to be, the likeliest alone where that is clear.

    Both with dots. known: all that there are; --out and --resume may be found besides. by_letters: also
    those that are only written nearly so.
    """
    *above, name = wrong.lower().replace("-", "_").split(".")
    for index in reversed(range(len(above))):  # discriminator.layers
        rest = ".".join([*above[index + 1 :], name])
        found = [f"{key}.{rest}" for key in _named(above[index], known)]
        if set(found) & set(known):
            return [key for key in found if key in known]
    parents = [".".join(above[:count]) for count in range(len(above), 0, -1)]
    parent = next((one for one in parents if one in known), None)
    inside = [key for key in known if parent is not None and key.startswith(f"{parent}.")]
    found = _named(name, inside)[:1] or _ending(name, inside)
    if not found and above and parents[0] not in known:  # a slip in it
        found = difflib.get_close_matches(wrong, known, n=1, cutoff=0.85)
    found = found or _ending(name, known) or _named(name, [*known, "--out", "--resume"])[:1]
    if found or not by_letters:
        return found
    children = [key for key in known if key.rpartition(".")[0] == (parent or "")]
    return _near(name, children, 0.7) or _near(name, known, 0.8)


def told(found: Sequence[str], word: str) -> str:
    """Put the keys as a question, with the form of those that a word says otherwise, not only misspelt."""
    keys = (key if _near(word, [key], 0.7) else FORMS.get(key, key) for key in found)
    return f"did you mean {' or '.join(keys)}?"


def near(word: str, known: Iterable[str]) -> str | None:
    """Give the word among those known that has nearly these letters; None without one."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def _named(word: str, known: Sequence[str]) -> list[str]:
    return [key for key, words in _OTHERS.items() if word in words.split() and key in known]


def _ending(name: str, known: Sequence[str]) -> list[str]:
    """Return the keys with this last part that lie least deep."""
    found = [key for key in known if key.rpartition(".")[2] == name]
    least = min((key.count(".") for key in found), default=0)
    return sorted((key for key in found if key.count(".") == least), key=len)[:_SHOWN]


def _near(name: str, known: Sequence[str], cutoff: float) -> list[str]:
    """Return the one whose last part has nearly these letters; of several the least deep."""
    ends = {
        key.rpartition(".")[2]: key for key in sorted(known, key=lambda key: (-key.count("."), -len(key)))
    }
    return [ends[end] for end in difflib.get_close_matches(name, list(ends), n=1, cutoff=cutoff)]
