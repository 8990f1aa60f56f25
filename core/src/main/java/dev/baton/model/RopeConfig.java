package dev.baton.model;

import tools.jackson.databind.json.JsonMapper;

/// What `config.json` says about rotary embeddings. `rope_parameters` holds all of it since transformers 5, before
/// that `rope_theta` stood beside `rope_scaling`.
///
/// @param theta base of the frequencies
record RopeConfig(double theta, RopeScaling scaling) {
    private static final double DEFAULT_THETA = 10_000;
    private static final double DEFAULT_BETA_FAST = 32;
    private static final double DEFAULT_BETA_SLOW = 1;

    /// @param positions `max_position_embeddings`
    static RopeConfig read(ConfigFields config, int positions) {
        ConfigFields rope = fields(config);
        for (ConfigFields fields : new ConfigFields[] {config, rope}) {
            if (fields.has("partial_rotary_factor") && fields.number("partial_rotary_factor") != 1) {
                throw config.wrong("partial_rotary_factor is " + fields.node("partial_rotary_factor")
                        + ", which is not supported; supported: 1.0");
            }
        }
        for (String nested : new String[] {"full_attention", "sliding_attention"}) {
            if (rope.has(nested)) {
                throw config.wrong("the rotary parameters of " + nested
                        + " layers stand by themselves; supported: the same for all layers");
            }
        }
        ConfigFields theta = rope.has("rope_theta") ? rope : config;
        return new RopeConfig(
                theta.has("rope_theta") ? theta.number("rope_theta") : DEFAULT_THETA, scaling(rope, positions));
    }

    private static ConfigFields fields(ConfigFields config) {
        for (String name : new String[] {"rope_parameters", "rope_scaling"}) {
            if (config.has(name)) {
                return new ConfigFields(config.file(), config.node(name));
            }
        }
        return new ConfigFields(config.file(), JsonMapper.shared().createObjectNode());
    }

    private static RopeScaling scaling(ConfigFields rope, int positions) {
        String type = rope.has("rope_type")
                ? rope.node("rope_type").asString()
                : rope.has("type") ? rope.node("type").asString() : "default";
        return switch (type) {
            case "default" -> new RopeScaling.None();
            case "linear" -> new RopeScaling.Linear(rope.number("factor"));
            case "llama3" ->
                new RopeScaling.Llama3(
                        rope.number("factor"),
                        rope.number("low_freq_factor"),
                        rope.number("high_freq_factor"),
                        rope.positive("original_max_position_embeddings"));
            case "yarn" -> yarn(rope, positions);
            default -> throw rope.wrong("rope_type is " + type + "; supported: default, linear, llama3, yarn");
        };
    }

    private static RopeScaling yarn(ConfigFields rope, int positions) {
        double factor = rope.number("factor");
        return new RopeScaling.Yarn(
                factor,
                rope.has("beta_fast") ? rope.number("beta_fast") : DEFAULT_BETA_FAST,
                rope.has("beta_slow") ? rope.number("beta_slow") : DEFAULT_BETA_SLOW,
                rope.flag("truncate", true),
                rope.has("original_max_position_embeddings")
                        ? rope.positive("original_max_position_embeddings")
                        : positions,
                (float) yarnAttentionFactor(rope, factor));
    }

    private static double yarnAttentionFactor(ConfigFields rope, double factor) {
        if (rope.has("attention_factor")) {
            return rope.number("attention_factor");
        }
        double mscale = rope.has("mscale") ? rope.number("mscale") : 0;
        double mscaleAllDim = rope.has("mscale_all_dim") ? rope.number("mscale_all_dim") : 0;
        return mscale != 0 && mscaleAllDim != 0
                ? yarnMscale(factor, mscale) / yarnMscale(factor, mscaleAllDim)
                : yarnMscale(factor, 1);
    }

    private static double yarnMscale(double factor, double mscale) {
        return factor <= 1 ? 1 : 0.1 * mscale * StrictMath.log(factor) + 1;
    }
}
