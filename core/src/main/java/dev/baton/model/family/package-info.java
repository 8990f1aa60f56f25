/// The model families, one file each: what `config.json` of the family says about its decoder, read with the
/// defaults that Hugging Face transformers has for it. What is not built is refused by name.
///
/// May depend on: `model`.
@NullMarked
package dev.baton.model.family;

import org.jspecify.annotations.NullMarked;
