package dev.baton.model.family;

import dev.baton.model.ConfigFields;
import dev.baton.model.decoder.DecoderSpec;
import java.util.ArrayList;
import java.util.List;

/// Which layers of a Qwen see a window: none, whatever `sliding_window` says, unless `use_sliding_window` is set;
/// then those that `layer_types` names, or, where a folder has no such list (transformers 4), those from
/// `max_window_layers` on.
final class QwenWindows {
    private static final String SLIDING = "sliding_attention";
    private static final String FULL = "full_attention";

    private QwenWindows() {}

    static DecoderSpec describe(ConfigFields config, DecoderSpec plain) {
        boolean used = config.flag("use_sliding_window", false) && config.has("sliding_window");
        List<Integer> windows = new ArrayList<>();
        for (boolean sliding : slidingLayers(config, used)) {
            if (sliding && !used) {
                throw config.wrong("layer_types has " + SLIDING
                        + ", which needs use_sliding_window to be true and sliding_window to be a number of tokens");
            }
            windows.add(sliding ? config.positive("sliding_window") : DecoderSpec.UNBOUNDED);
        }
        return plain.withWindowTokens(windows);
    }

    private static boolean[] slidingLayers(ConfigFields config, boolean used) {
        boolean[] sliding = new boolean[config.positive("num_hidden_layers")];
        if (!config.has("layer_types")) {
            int first = used ? config.notNegative("max_window_layers") : sliding.length;
            for (int i = first; i < sliding.length; i++) {
                sliding[i] = true;
            }
            return sliding;
        }
        List<String> types = config.texts("layer_types");
        if (types.size() != sliding.length) {
            throw config.wrong("layer_types has " + types.size() + " entries, num_hidden_layers is " + sliding.length);
        }
        for (int i = 0; i < sliding.length; i++) {
            sliding[i] = switch (types.get(i)) {
                case SLIDING -> true;
                case FULL -> false;
                default ->
                    throw config.wrong("layer_types has " + types.get(i) + "; supported: " + FULL + ", " + SLIDING);
            };
        }
        return sliding;
    }
}
