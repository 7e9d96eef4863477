# Sizes of effects: standardised difference with its noncentral t interval, interquartile mean,
# performance profile.
source("common.R")

# Hedges (1981): J. Bounds: the noncentrality at which the observed t is the upper or lower quantile (stats::pt),
# found by root finding; d = noncentrality / sqrt(n).
dz <- function(x, level = 0.95) {
  n <- length(x)
  v <- n - 1
  t <- mean(x) / (sd(x) / sqrt(n))
  bound <- function(share) {
    uniroot(function(ncp) pt(t, v, ncp) - share, t + c(-1, 1), extendInt = "downX", tol = 1e-13)$root / sqrt(n)
  }
  tail <- (1 - level) / 2
  j <- exp(lgamma(v / 2) - lgamma((v - 1) / 2)) / sqrt(v / 2)
  list(d_z = j * mean(x) / sd(x), low = bound(1 - tail), high = bound(tail))
}

# Models drawn within their half of the table (its architecture). Percentile bounds of 40 bootstraps of 2,000
# replicates: their mean, and their spread from which the comparison takes its tolerance.
iqm_interval <- function(table) {
  set.seed(1)
  half <- nrow(table) / 2
  bounds <- replicate(40, {
    means <- replicate(2000, mean(table[c(sample(half, replace = TRUE), half + sample(half, replace = TRUE)), ],
                                  trim = 0.25))
    quantile(means, c(0.025, 0.975), names = FALSE)
  })
  list(resamples = 2000, repeats = 40, low = mean(bounds[1, ]), high = mean(bounds[2, ]),
       low_sd = sd(bounds[1, ]), high_sd = sd(bounds[2, ]))
}

samples <- data$differences
thresholds <- seq(0.35, 0.85, 0.05)
emit(list(
  dz = lapply(samples[c("normal3", "normal5", "normal10", "normal20", "skewed10", "negative6")], dz),
  iqm = lapply(data$tables[c("settings", "plain")], function(table) mean(table, trim = 0.25)),
  iqm_interval = iqm_interval(data$tables$settings),
  profile = list(thresholds = thresholds, share = 1 - ecdf(data$tables$settings)(thresholds))
))
