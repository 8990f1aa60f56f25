package dev.baton.model;

import dev.baton.tensor.PagedKv;

/// Steps of a model that computes on a device, with logits left there and tokens chosen there: one number a row
/// moves to the host instead of a row of the vocabulary's size.
///
/// A step is launched, and waited for later; a second one may be launched before the first was waited for, and
/// take its tokens as inputs. Used from one thread, the engine's. What is asked about rows is about those of the
/// step that was waited for last.
public interface DeviceSteps {
    /// What [#token] says of a row that holds NaN or an infinity.
    int NOT_FINITE = -1;

    /// What [#token] says of a row that has no token left which may come.
    int NONE_LEFT = -2;

    /// What [#token] says of a row whose biases and penalties made a logit infinite.
    int OUT_OF_RANGE = -3;

    /// Gets ready for steps over a cache, so that the first ones are as fast as those after them.
    void prepare(PagedKv kv);

    /// Gives one step to the device, as [CausalLm#forward], and returns. At most two steps are under way.
    ///
    /// @param batch may be reused at once; one of its tokens may be a choice of the step launched before this one
    ///     (see [ForwardBatch#addNext])
    /// @param choices how tokens are chosen that are not simply the likeliest; may be reused at once
    void launch(ForwardBatch batch, PagedKv kv, TokenChoices choices);

    /// Waits for the first step that was launched and not waited for. When it returns, the device has done all of
    /// it: others may read its blocks then, and write to blocks of no later step.
    void await();

    /// Whether there is nothing to gain from doing something else before [#await]: it would return at once, or is
    /// what gets the step on, or nothing is known of that.
    default boolean isAwaitDue() {
        return true;
    }

    /// The token of a row, or [#NOT_FINITE], [#NONE_LEFT] or [#OUT_OF_RANGE]: the one chosen as was asked for, or
    /// else the one with the highest logit, the lowest one of several.
    ///
    /// @param row of those that wanted logits
    int token(int row);

    /// Copies a row of logits to the host. Not while a later step is under way.
    ///
    /// @param row of those that wanted logits
    /// @param offset where it begins in `logits`
    void copyRow(int row, float[] logits, int offset);

    /// How long the device was busy with the step, in milliseconds.
    default float deviceMillis() {
        return 0;
    }
}
