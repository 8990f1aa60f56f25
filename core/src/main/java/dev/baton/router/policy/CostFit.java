package dev.baton.router.policy;

import java.util.Arrays;

/// A time as a sum of terms, `c0 * x0 + c1 * x1 + ...`, whose factors are learned from what was measured.
///
/// Least squares with exponential forgetting and a ridge that holds the
/// factors at their first guess until there are measurements; factors are never negative. What is no finite
/// number over or equal to 0 is not learned from, and one time far over the expected one counts as a moderate
/// one. Not thread-safe.
final class CostFit {
    private static final double RIDGE = 1e-2;
    private static final double OUTLIER = 8;
    private static final int ENOUGH = 16;

    private final double keep;
    private final double[] guess;
    private final double[][] products;
    private final double[] targets;
    private final double[] factors;
    private long measurements;

    /// @param keep what earlier measurements still count after another one: 0.99 remembers about a hundred
    /// @param guess factors until there are measurements
    CostFit(double keep, double[] guess) {
        this.keep = keep;
        this.guess = guess.clone();
        this.factors = guess.clone();
        this.products = new double[guess.length][guess.length];
        this.targets = new double[guess.length];
    }

    /// Learns from one measurement.
    ///
    /// @param time what was measured
    /// @param terms as many as there are factors, each of the order of 1
    void learn(double time, double... terms) {
        if (!isUsable(time) || !Arrays.stream(terms).allMatch(CostFit::isUsable)) {
            return;
        }
        double used = measurements < ENOUGH ? time : Math.min(time, OUTLIER * predict(terms) + OUTLIER);
        for (int i = 0; i < terms.length; i++) {
            for (int k = 0; k < terms.length; k++) {
                products[i][k] = keep * products[i][k] + terms[i] * terms[k];
            }
            targets[i] = keep * targets[i] + terms[i] * used;
        }
        measurements++;
        solve();
    }

    private static boolean isUsable(double value) {
        return value >= 0 && value < 1e12;
    }

    /// Solves the normal equations; a factor that comes out negative is 0 and the others are solved again.
    private void solve() {
        boolean[] zero = new boolean[guess.length];
        for (int round = 0; round < guess.length; round++) {
            double[] solution = solve(zero);
            boolean negative = false;
            for (int i = 0; i < solution.length; i++) {
                if (!zero[i] && !(solution[i] >= 0)) {
                    zero[i] = true;
                    negative = true;
                }
                factors[i] = zero[i] ? 0 : solution[i];
            }
            if (!negative) {
                return;
            }
        }
    }

    /// By Gauss' elimination; the ridge keeps the matrix positive definite, so that no pivoting is needed.
    private double[] solve(boolean[] zero) {
        int n = guess.length;
        double[][] a = new double[n][n + 1];
        for (int i = 0; i < n; i++) {
            if (zero[i]) {
                a[i][i] = 1;
                continue;
            }
            for (int k = 0; k < n; k++) {
                a[i][k] = zero[k] ? 0 : products[i][k];
            }
            a[i][i] += RIDGE;
            a[i][n] = targets[i] + RIDGE * guess[i];
        }
        for (int i = 0; i < n; i++) {
            for (int row = i + 1; row < n; row++) {
                double ratio = a[row][i] / a[i][i];
                for (int k = i; k <= n; k++) {
                    a[row][k] -= ratio * a[i][k];
                }
            }
        }
        double[] solution = new double[n];
        for (int i = n - 1; i >= 0; i--) {
            double rest = a[i][n];
            for (int k = i + 1; k < n; k++) {
                rest -= a[i][k] * solution[k];
            }
            solution[i] = rest / a[i][i];
        }
        return solution;
    }

    /// The time that is expected.
    double predict(double... terms) {
        double time = 0;
        for (int i = 0; i < terms.length; i++) {
            time += factors[i] * terms[i];
        }
        return time;
    }

    /// The same for a constant first term and one more.
    double predictLine(double term) {
        return factors[0] + factors[1] * term;
    }

    /// The same for a constant first term and two more.
    double predictPlane(double term, double other) {
        return factors[0] + factors[1] * term + factors[2] * other;
    }

    double factor(int index) {
        return factors[index];
    }

    /// How many times it has learned.
    long measurements() {
        return measurements;
    }
}
