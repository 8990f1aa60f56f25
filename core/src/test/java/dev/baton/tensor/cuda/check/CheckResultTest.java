package dev.baton.tensor.cuda.check;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class CheckResultTest {
    @Test
    void nanNeverPasses() {
        float[] expected = {1, 2, 4};
        assertThat(CheckResult.relativeError(new float[] {1, Float.NaN, 4}, expected))
                .isNaN();
        assertThat(CheckResult.relativeError(new float[] {1, 2}, expected)).isNaN();
        assertThat(new CheckResult("a", Double.NaN, 1).passed()).isFalse();
    }

    @Test
    void errorIsTheGreatestDifferenceOverTheGreatestValue() {
        assertThat(CheckResult.relativeError(new float[] {1, 2.5f, -4}, new float[] {1, 2, -4}))
                .isEqualTo(0.125);
        assertThat(new CheckResult("a", 0.125, 0.125).passed()).isTrue();
        assertThat(new CheckResult("a", 0.126, 0.125).passed()).isFalse();
    }
}
