# Two masks on the same images: exact McNemar (stats::binom.test) and the crossed bootstrap, written out.
source("common.R")

mcnemar_exact <- function(bits) {
  only_first <- sum(bits$first == 1 & bits$second == 0)
  only_second <- sum(bits$first == 0 & bits$second == 1)
  list(only_first = only_first, only_second = only_second,
       p = binom.test(only_first, only_first + only_second)$p.value)
}

# Each replicate draws models and, once for all of them, images. Percentile bounds of 40 bootstraps of 2,000
# replicates: their mean, and their spread from which the comparison takes its tolerance.
crossed <- function(bits) {
  set.seed(1)
  difference <- bits$first - bits$second
  bounds <- replicate(40, {
    means <- replicate(2000, mean(difference[sample(nrow(difference), replace = TRUE),
                                             sample(ncol(difference), replace = TRUE)]))
    quantile(means, c(0.025, 0.975), names = FALSE)
  })
  list(mean = mean(difference), resamples = 2000, repeats = 40, low = mean(bounds[1, ]), high = mean(bounds[2, ]),
       low_sd = sd(bounds[1, ]), high_sd = sd(bounds[2, ]))
}

emit(list(mcnemar = lapply(data$images[c("one", "few")], mcnemar_exact), crossed = crossed(data$images$models)))
