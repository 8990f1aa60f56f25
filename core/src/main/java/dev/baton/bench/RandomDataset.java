package dev.baton.bench;

import dev.baton.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;

/// The data set `random`: prompts of exact token lengths without meaning, made as `vllm bench serve` makes them.
///
/// A prompt is a shared random prefix and then consecutive tokens of the vocabulary from a random offset on, as
/// text. Tokens next to each other may encode to fewer or more tokens once they are text, so the text is
/// encoded again and cut or filled until its length is right. A prompt that does not get there is sent as token
/// ids, where the endpoint takes them, and so has the exact length as well.
///
/// The same seed gives the same prompts here, but not those of vLLM, whose generator is numpy's.
///
/// @param inputTokens tokens of a prompt as the server counts them, special ones included, without the prefix
/// @param outputTokens tokens to generate
/// @param rangeRatio lengths are uniform in `[length * (1 - ratio), length * (1 + ratio)]`
/// @param prefixTokens tokens that all prompts begin with
public record RandomDataset(int inputTokens, int outputTokens, double rangeRatio, int prefixTokens) {
    private static final int MAX_ROUNDS = 20;

    public RandomDataset {
        if (!(rangeRatio >= 0 && rangeRatio < 1)) {
            throw new BenchException("--random-range-ratio must be in [0, 1), got " + rangeRatio + ".");
        }
        if (inputTokens < 0 || prefixTokens < 0 || outputTokens < 1) {
            throw new BenchException(
                    "--random-input-len %d, --random-prefix-len %d and --random-output-len %d must be at"
                                    .formatted(inputTokens, prefixTokens, outputTokens)
                            + " least 0, 0 and 1.");
        }
    }

    /// Makes `count` requests.
    ///
    /// @param textOnly whether the endpoint takes text alone, as chat does; then a prompt that does not reach
    ///     its length stays as near as it came
    public List<BenchRequest> requests(Tokenizer tokenizer, int count, long seed, boolean textOnly) {
        return requests(Vocabulary.of(tokenizer), count, seed, textOnly);
    }

    List<BenchRequest> requests(Vocabulary vocabulary, int count, long seed, boolean textOnly) {
        int length = Math.max(0, inputTokens - vocabulary.specialTokenIds().length);
        int shortest = (int) Math.floor(length * (1 - rangeRatio));
        if (prefixTokens + shortest < 1) {
            throw new BenchException(
                    "--random-input-len %d leaves no token for the prompt (%d special ones): make it or --random-prefix-len larger."
                            .formatted(inputTokens, vocabulary.specialTokenIds().length));
        }
        int longest = (int) Math.ceil(length * (1 + rangeRatio));
        int fewest = Math.max(1, (int) Math.floor(outputTokens * (1 - rangeRatio)));
        int most = Math.max(1, (int) Math.ceil(outputTokens * (1 + rangeRatio)));
        SplittableRandom random = new SplittableRandom(seed);
        int[] prefix = randomTokens(vocabulary, prefixTokens, random);
        List<BenchRequest> requests = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            int input = random.nextInt(shortest, longest + 1);
            int output = random.nextInt(fewest, most + 1);
            int offset = random.nextInt(vocabulary.tokenIds().length);
            int[] tokens = sequence(vocabulary, prefix, input, offset + i);
            requests.add(request(vocabulary, tokens, output, random, textOnly));
        }
        return requests;
    }

    private static int[] randomTokens(Vocabulary vocabulary, int count, RandomGenerator random) {
        int[] all = vocabulary.tokenIds();
        return random.ints(count, 0, all.length).map(i -> all[i]).toArray();
    }

    private static int[] sequence(Vocabulary vocabulary, int[] prefix, int count, int from) {
        int[] all = vocabulary.tokenIds();
        int[] tokens = Arrays.copyOf(prefix, prefix.length + count);
        for (int i = 0; i < count; i++) {
            tokens[prefix.length + i] = all[(from + i) % all.length];
        }
        return tokens;
    }

    private static BenchRequest request(
            Vocabulary vocabulary, int[] tokens, int output, RandomGenerator random, boolean textOnly) {
        int target = tokens.length;
        int[] current = tokens;
        String text = "";
        for (int round = 0; round < MAX_ROUNDS; round++) {
            text = vocabulary.decode().apply(current);
            int[] again = vocabulary.encode().apply(text);
            if (again.length == target) {
                return new BenchRequest(new Prompt.Text(text), target, output);
            }
            current = Arrays.copyOf(again, target);
            if (again.length < target) {
                int[] filling = randomTokens(vocabulary, target - again.length, random);
                System.arraycopy(filling, 0, current, again.length, filling.length);
            }
        }
        if (textOnly) {
            return new BenchRequest(new Prompt.Text(text), vocabulary.encode().apply(text).length, output);
        }
        int[] special = vocabulary.specialTokenIds();
        int[] all = Arrays.copyOf(special, special.length + target);
        System.arraycopy(tokens, 0, all, special.length, target);
        return new BenchRequest(new Prompt.Tokens(all), target, output);
    }
}
