# Several methods over several blocks: stats::friedman.test, coin, Iman and Davenport's F, pairwise Wilcoxon with Holm.
source("common.R")

friedman <- function(table) {
  n <- nrow(table)
  k <- ncol(table)
  found <- friedman.test(table)
  chi_square <- as.numeric(found$statistic)
  # Iman and Davenport (1980), Commun. Stat. A 9, 571
  f <- (n - 1) * chi_square / (n * (k - 1) - chi_square)
  rows <- data.frame(value = as.numeric(table), treatment = factor(col(table)), block = factor(row(table)))
  coin_test <- coin::friedman_test(value ~ treatment | block, data = rows)
  list(chi_square = chi_square, df = as.numeric(found$parameter), p = found$p.value,
       coin_chi_square = as.numeric(coin::statistic(coin_test)), coin_p = as.numeric(coin::pvalue(coin_test)),
       f = f, df1 = k - 1, df2 = (k - 1) * (n - 1), p_f = pf(f, k - 1, (k - 1) * (n - 1), lower.tail = FALSE),
       mean_ranks = colMeans(t(apply(-table, 1, rank))))
}

# Exact signed-rank test of each pair of columns, zeros dropped, by coin; Holm over the pairs.
pairwise <- function(table) {
  pairs <- combn(ncol(table), 2)
  n <- nrow(table)
  p <- apply(pairs, 2, function(pair) {
    rows <- data.frame(value = as.numeric(round(table[, pair], 12)), side = factor(rep(c("a", "b"), each = n)),
                       block = factor(rep(seq_len(n), 2)))
    as.numeric(coin::pvalue(coin::wilcoxsign_test(value ~ side | block, data = rows, distribution = "exact",
                                                  zero.method = "Wilcoxon")))
  })
  means <- colMeans(table)
  list(first = pairs[1, ] - 1, second = pairs[2, ] - 1, difference = means[pairs[1, ]] - means[pairs[2, ]], p = p,
       p_holm = p.adjust(p, "holm"))
}

# The same by stats::pairwise.wilcox.test, which is exact without ties.
pairwise_stats <- function(table) {
  treatment <- factor(col(table))
  test <- function(correction) {
    found <- pairwise.wilcox.test(as.numeric(table), treatment, p.adjust.method = correction, paired = TRUE)$p.value
    found[lower.tri(found, diag = TRUE)]
  }
  list(p = test("none"), p_holm = test("holm"))
}

tables <- data$tables[c("plain", "tied")]
emit(list(friedman = lapply(tables, friedman), pairwise = lapply(tables, pairwise),
          pairwise_stats = pairwise_stats(data$tables$plain)), "coin")
