# Paired tests of one sample of differences: stats::t.test, two one-sided t tests, coin, psignrank, full enumeration.
source("common.R")
sides <- c("two.sided", "greater", "less")

t_tests <- function(x, null) {
  found <- lapply(sides, function(side) t.test(x, mu = null, alternative = side))
  list(statistic = as.numeric(found[[1]]$statistic), df = as.numeric(found[[1]]$parameter),
       p = setNames(lapply(found, function(test) test$p.value), sides))
}

# Schuirmann's two one-sided tests and the 90 % interval that decides the same.
tost <- function(x, margin) {
  lower <- t.test(x, mu = -margin, alternative = "greater")$p.value
  upper <- t.test(x, mu = margin, alternative = "less")$p.value
  list(lower = lower, upper = upper, p = max(lower, upper),
       interval = as.numeric(t.test(x, conf.level = 0.9)$conf.int))
}

# Share of all 2^n sign patterns whose sum is as extreme: the definition, written out.
flip <- function(x) {
  sums <- as.numeric(all_signs(length(x)) %*% abs(x))
  slack <- tie * sum(abs(x))
  list(two.sided = mean(abs(sums) >= abs(sum(x)) - slack), greater = mean(sums >= sum(x) - slack),
       less = mean(sums <= sum(x) + slack))
}

# The same by coin's exact conditional distribution, which takes whole numbers (its shift algorithm).
flip_coin <- function(x) {
  pairs <- long(round(x * 400))
  found <- lapply(sides, function(side) coin::pvalue(
    coin::symmetry_test(value ~ side | block, data = pairs, alternative = side,
                        distribution = coin::exact(algorithm = "shift"))))
  setNames(lapply(found, as.numeric), sides)
}

# Differences as pairs (difference, 0), as coin wants them.
long <- function(x) {
  n <- length(x)
  data.frame(value = c(x, rep(0, n)), side = factor(rep(c("a", "b"), each = n)), block = factor(rep(seq_len(n), 2)))
}

# Zeros dropped before ranking (zero.method "Wilcoxon"), ties given their mean rank, all patterns counted.
wilcoxon_coin <- function(x) {
  found <- lapply(sides, function(side) coin::pvalue(
    coin::wilcoxsign_test(value ~ side | block, data = long(x), alternative = side, distribution = "exact",
                          zero.method = "Wilcoxon")))
  setNames(lapply(found, as.numeric), sides)
}

# Without ties: from the distribution function of the signed-rank statistic.
wilcoxon_psignrank <- function(x) {
  n <- length(x)
  v <- sum(rank(abs(x))[x > 0])
  greater <- psignrank(v - 1, n, lower.tail = FALSE)
  less <- psignrank(v, n)
  list(two.sided = min(1, 2 * min(greater, less)), greater = greater, less = less)
}

# Beyond 20 models with ties: normal approximation with the variance corrected for ties, no continuity correction.
wilcoxon_normal <- function(x) {
  found <- lapply(sides, function(side) wilcox.test(x[x != 0], alternative = side, exact = FALSE, correct = FALSE))
  setNames(lapply(found, function(test) test$p.value), sides)
}

samples <- data$differences
untied <- grep("ties", names(samples), value = TRUE, invert = TRUE)
tied <- c("ties10", "ties20")
small <- setdiff(names(samples), c("normal25", "ties25"))
emit(list(
  t = lapply(samples, t_tests, null = 0),
  t_shifted = lapply(samples, t_tests, null = data$null),
  tost = lapply(samples, tost, margin = data$margin),
  flip = lapply(samples[small], flip),
  flip_coin = lapply(samples[c(tied, "ties25")], flip_coin),
  wilcoxon_coin = lapply(samples[tied], wilcoxon_coin),
  wilcoxon_psignrank = lapply(samples[untied], wilcoxon_psignrank),
  wilcoxon_normal = lapply(samples["ties25"], wilcoxon_normal)
), "coin")
