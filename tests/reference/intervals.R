# t intervals (stats::t.test) and BCa bootstrap intervals of the mean (boot::boot.ci).
source("common.R")

t_interval <- function(x) {
  bounds <- function(level) as.numeric(t.test(x, conf.level = level)$conf.int)
  list(mean = mean(x), sd = sd(x), level95 = bounds(0.95), level99 = bounds(0.99))
}

# The bounds are random: their mean over 40 bootstraps of 20,000 resamples each, and their spread from one
# bootstrap to the next, from which the comparison takes its tolerance.
bca <- function(x) {
  set.seed(1)
  bounds <- replicate(40, {
    draws <- boot::boot(x, function(values, rows) mean(values[rows]), R = 20000)
    # L: influence values of the mean, which boot would otherwise estimate by a regression on the draws
    boot::boot.ci(draws, type = "bca", L = x - mean(x))$bca[4:5]
  })
  list(resamples = 20000, repeats = 40, low = mean(bounds[1, ]), high = mean(bounds[2, ]),
       low_sd = sd(bounds[1, ]), high_sd = sd(bounds[2, ]))
}

emit(list(t = lapply(data$differences, t_interval), bca = lapply(data$bootstrap, bca)), "boot")
