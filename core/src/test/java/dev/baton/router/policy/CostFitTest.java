package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CostFitTest {
    @Test
    void factorsAreFoundInNoise() {
        SplittableRandom random = new SplittableRandom(1);
        CostFit fit = new CostFit(0.99, new double[] {1, 50, 0});
        for (int i = 0; i < 500; i++) {
            double x = 8 * random.nextDouble();
            fit.learn((5 + 30 * x + 4 * x * x) * (0.9 + 0.2 * random.nextDouble()), 1, x, x * x);
        }
        assertThat(fit.predict(1, 4, 16)).isCloseTo(5 + 120 + 64, within(10.0));
    }

    @Test
    void aChangeIsFollowed() {
        CostFit fit = new CostFit(0.99, new double[] {0, 0});
        for (int i = 0; i < 500; i++) {
            fit.learn(i < 200 ? 10 + i % 7 : 3 * (10 + i % 7), 1, i % 7);
        }
        assertThat(fit.predict(1, 3)).isCloseTo(39, within(2.0));
    }

    @Test
    void factorsAreNeverNegative() {
        CostFit fit = new CostFit(0.99, new double[] {0, 0});
        for (int i = 0; i < 100; i++) {
            fit.learn(100 - i % 10, 1, i % 10);
        }
        assertThat(fit.factor(0)).isPositive();
        assertThat(fit.factor(1)).isZero();
    }

    @ParameterizedTest
    @ValueSource(doubles = {Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY, -1, 1e300})
    void whatIsNoTimeChangesNothing(double wrong) {
        CostFit fit = new CostFit(0.99, new double[] {1, 2});
        fit.learn(7, 1, 1);
        double before = fit.predict(1, 5);
        fit.learn(wrong, 1, 1);
        fit.learn(3, 1, wrong);
        assertThat(fit.predict(1, 5)).isEqualTo(before);
        assertThat(fit.measurements()).isEqualTo(1);
    }

    @Test
    void oneTimeFarOffCountsLittle() {
        CostFit fit = new CostFit(0.99, new double[] {0, 0});
        for (int i = 0; i < 100; i++) {
            fit.learn(10, 1, i % 3);
        }
        fit.learn(1e9, 1, 1);
        assertThat(fit.predict(1, 1)).isLessThan(20);
    }

    @Test
    void withoutMeasurementsTheGuessIsTold() {
        assertThat(new CostFit(0.99, new double[] {1, 50}).predict(1, 2)).isEqualTo(101);
    }
}
