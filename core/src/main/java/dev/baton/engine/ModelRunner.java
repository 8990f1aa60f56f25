package dev.baton.engine;

import dev.baton.model.CausalLm;
import dev.baton.model.DeviceSteps;
import dev.baton.model.ForwardBatch;
import dev.baton.model.TokenChoices;
import dev.baton.tensor.PagedKv;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Carries out a step: fills the batch, runs the model, samples where the logits are. A step is launched, and
/// finished later; where the model computes on a device, the next one may be launched in between. Engine thread
/// only.
final class ModelRunner {
    /// A little less than the largest `int`: what VMs allow.
    private static final int MAX_ARRAY_LENGTH = Integer.MAX_VALUE - 8;

    private static final int PROMPT_LOGITS_BYTES = 64 << 20;

    private final CausalLm model;
    private final @Nullable DeviceSteps device; // where the model's logits stay, if not in host memory
    private final PagedKv kv;
    private final ForwardBatch batch;
    private final Sampler sampler;
    private final TokenChoices choices;
    /// Of the requests of a step that is not ahead: the [StepOutput] code of a mask that could not be made, or 0.
    private final int[] maskFailures;

    private final int vocabSize;
    private final int maxLogits;
    /// Grows with the batch, to at most [EngineConfig#maxNumSeqs()] and [#maxPromptLogitsRows] rows.
    private float[] logits; // (rows that want logits, vocabSize)

    /// Rows of logits that one step computes for log-probabilities of prompts: a vocabulary of 128,256 tokens
    /// with 512 rows would be 262 MB.
    static int maxPromptLogitsRows(int vocabSize) {
        return Math.max(1, PROMPT_LOGITS_BYTES / (Float.BYTES * vocabSize));
    }

    ModelRunner(EngineConfig config, CausalLm model, PagedKv kv) {
        this.model = model;
        this.device = model.deviceSteps().orElse(null);
        this.kv = kv;
        this.maxLogits = maxLogits(config.maxNumSeqs(), model.config().vocabSize());
        this.batch = new ForwardBatch(config.maxNumBatchedTokens(), config.maxNumSeqs());
        this.vocabSize = model.config().vocabSize();
        this.sampler = new Sampler(vocabSize);
        this.choices = new TokenChoices(config.maxNumSeqs());
        this.maskFailures = new int[config.maxNumSeqs()];
        this.logits = new float[vocabSize];
    }

    private static int maxLogits(int maxNumSeqs, int vocabSize) {
        int mostSeqs = MAX_ARRAY_LENGTH / vocabSize - maxPromptLogitsRows(vocabSize);
        if (maxNumSeqs > mostSeqs) {
            throw new IllegalArgumentException("maxNumSeqs is " + maxNumSeqs + "; with a vocabulary of " + vocabSize
                    + " tokens the logits of a step have room for at most " + mostSeqs
                    + " sequences (--max-num-seqs)");
        }
        return (maxNumSeqs + maxPromptLogitsRows(vocabSize)) * vocabSize;
    }

    /// Whether a step can be launched before the one in front of it was finished.
    boolean canRunAhead() {
        return device != null;
    }

    /// Begins to compute what was scheduled.
    void launch(SchedulerOutput scheduled) {
        batch.clear();
        for (int i = 0; i < scheduled.numRequests(); i++) {
            Request request = scheduled.request(i);
            if (scheduled.isAhead()) {
                batch.addNext(i, request.numTokens(), request.blocks.ids());
            } else {
                batch.add(
                        request.tokens(),
                        request.numComputedTokens,
                        scheduled.numScheduledTokens(i),
                        request.blocks.ids(),
                        scheduled.numLogits(i));
            }
        }
        if (device == null) {
            growLogits(batch.numLogits());
            model.forward(batch, kv, logits);
        } else {
            choose(scheduled);
            device.launch(batch, kv, choices);
        }
    }

    /// Says how the device is to choose the tokens that are not simply the likeliest.
    private void choose(SchedulerOutput scheduled) {
        choices.clear();
        int row = 0;
        for (int i = 0; i < scheduled.numRequests(); i++) {
            Request request = scheduled.request(i);
            maskFailures[i] = 0;
            if (isChosenOnDevice(scheduled, i) && !Sampler.takesLikeliest(request)) {
                choose(request, i, row, scheduled.isAhead() ? request.numTokens() + 1 : request.numTokens());
            }
            row += scheduled.numLogits(i);
        }
    }

    /// @param numTokens how many there are before the one that is chosen
    private void choose(Request request, int i, int row, int numTokens) {
        boolean isMasked = Sampler.isMasked(request);
        if (isMasked) {
            maskFailures[i] = sampler.fillMask(request);
        }
        if (maskFailures[i] == 0) {
            choices.add(row, request.draw, Philox.uniform(request.seed, numTokens));
            if (isMasked) {
                choices.mask(sampler.mask());
            }
            choices.bias(request.biasedTokenIds, request.biases);
            if (!request.penalties.equals(TokenChoices.Penalties.NONE)) {
                choices.penalise(request.penalties, request.number, request.tokens(), numTokens, request.promptTokens);
            }
        }
    }

    private static boolean isChosenOnDevice(SchedulerOutput scheduled, int i) {
        return scheduled.samples(i)
                && scheduled.numLogits(i) == 1
                && scheduled.request(i).canBeChosenOnDevice();
    }

    /// Whether there is nothing else to be done before [#finish].
    boolean isFinishDue() {
        return device == null || device.isAwaitDue();
    }

    /// Waits for the first step that was launched and not finished, and gives a token for each request that it
    /// brought up to date.
    void finish(SchedulerOutput scheduled, StepOutput output) {
        if (device != null) {
            device.await();
        }
        int row = 0;
        for (int i = 0; i < scheduled.numRequests(); i++) {
            Request request = scheduled.request(i);
            int numLogits = scheduled.numLogits(i);
            boolean samples = scheduled.samples(i);
            if (device == null) {
                sample(request, row, numLogits, samples, i, output);
            } else if (scheduled.isAhead() || isChosenOnDevice(scheduled, i)) {
                output.set(i, chosen(device.token(row), maskFailures[i]), List.of());
            } else {
                fetch(device, row, numLogits);
                sample(request, 0, numLogits, samples, i, output);
            }
            row += numLogits;
        }
    }

    private static int chosen(int token, int maskFailure) {
        return switch (token) {
            case DeviceSteps.NOT_FINITE -> StepOutput.NOT_FINITE;
            case DeviceSteps.NONE_LEFT -> StepOutput.NO_TOKEN_LEFT;
            case DeviceSteps.OUT_OF_RANGE -> StepOutput.OUT_OF_RANGE;
            default -> maskFailure < 0 ? maskFailure : token;
        };
    }

    /// How long the device was busy with the step that was finished last; 0 without one.
    float deviceMillis() {
        return device == null ? 0 : device.deviceMillis();
    }

    /// Brings a request's rows to the host, to the beginning of [#logits].
    private void fetch(DeviceSteps from, int row, int rows) {
        growLogits(rows);
        for (int i = 0; i < rows; i++) {
            from.copyRow(row + i, logits, i * vocabSize);
        }
    }

    private void growLogits(int rows) {
        int needed = Math.multiplyExact(rows, vocabSize);
        if (needed > logits.length) {
            logits = new float[Math.max(needed, Math.min(2 * logits.length, maxLogits))];
        }
    }

    private void sample(Request request, int row, int numLogits, boolean samples, int i, StepOutput output) {
        int promptRows = samples ? numLogits - 1 : numLogits;
        if (!addPromptLogprobs(request, row, promptRows)) {
            output.set(i, StepOutput.NOT_FINITE, List.of());
        } else if (samples) {
            sample(request, (row + promptRows) * vocabSize, i, output);
        } else {
            output.set(i, StepOutput.NO_TOKEN, List.of());
        }
    }

    /// @return false if one of the rows is not finite
    private boolean addPromptLogprobs(Request request, int row, int rows) {
        int count = request.sampling.promptLogprobs().orElse(0);
        for (int offset = row * vocabSize; offset < (row + rows) * vocabSize; offset += vocabSize) {
            if (!sampler.allFinite(logits, offset)) {
                return false;
            }
            request.addPromptLogprobs(sampler.logprobs(logits, offset, request.nextPromptToken(), count));
        }
        return true;
    }

    private void sample(Request request, int offset, int i, StepOutput output) {
        int token = sampler.sample(logits, offset, request);
        if (token >= 0 && request.sampling.logprobs().isPresent()) {
            int count = request.sampling.logprobs().getAsInt();
            output.set(i, token, List.of(sampler.logprobs(logits, offset, token, count)));
        } else {
            output.set(i, token, List.of());
        }
    }
}
