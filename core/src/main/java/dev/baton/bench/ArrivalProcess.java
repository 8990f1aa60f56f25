package dev.baton.bench;

import java.util.random.RandomGenerator;

/// When requests are sent: intervals from a gamma distribution, as `vllm bench serve` draws them.
///
/// @param requestRate requests a second; infinite for all at once
/// @param burstiness the distribution's shape: 1 is a Poisson process, more is more regular, infinite is a constant
///     interval
public record ArrivalProcess(double requestRate, double burstiness) {
    public ArrivalProcess {
        if (!(requestRate > 0)) {
            throw new BenchException("--request-rate must be above 0, got " + requestRate + ".");
        }
        if (!(burstiness > 0)) {
            throw new BenchException("--burstiness must be above 0, got " + burstiness + ".");
        }
    }

    /// Times of `count` requests, in seconds after the start, ascending. They are rescaled so that the last one
    /// is at `count / requestRate`: otherwise runs with different seeds would differ in rate.
    public double[] timesSeconds(int count, RandomGenerator random) {
        double[] times = new double[count];
        if (Double.isInfinite(requestRate)) {
            return times;
        }
        double time = 0;
        for (int i = 0; i < count; i++) {
            time += interval(random);
            times[i] = time;
        }
        double scale = count / requestRate / time;
        for (int i = 0; i < count; i++) {
            times[i] *= scale;
        }
        return times;
    }

    private double interval(RandomGenerator random) {
        return Double.isInfinite(burstiness) ? 1 / requestRate : gamma(burstiness, random) / (requestRate * burstiness);
    }

    /// A sample of the gamma distribution with scale 1.
    ///
    /// Source: G. Marsaglia, W. W. Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000).
    static double gamma(double shape, RandomGenerator random) {
        if (shape < 1) {
            double uniform = 1 - random.nextDouble(); // in (0, 1]
            return gamma(shape + 1, random) * Math.pow(uniform, 1 / shape);
        }
        double d = shape - 1.0 / 3;
        double c = 1 / Math.sqrt(9 * d);
        while (true) {
            double x = random.nextGaussian();
            double t = 1 + c * x;
            if (t <= 0) {
                continue;
            }
            double v = t * t * t;
            double uniform = 1 - random.nextDouble();
            if (Math.log(uniform) < 0.5 * x * x + d - d * v + d * Math.log(v)) {
                return d * v;
            }
        }
    }
}
