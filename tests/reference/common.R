# Read data.json and print one JSON document: versions and values. Every script here is run in this folder.
options(warn = 2)
data <- jsonlite::fromJSON("data.json")

emit <- function(values, packages = character()) {
  versions <- lapply(c(packages, "jsonlite"), function(name) as.character(packageVersion(name)))
  names(versions) <- c(packages, "jsonlite")
  versions <- c(list(R = as.character(getRversion())), versions)
  # fifteen significant digits, which is what jsonlite gives for digits = NA
  document <- list(versions = versions, values = values)
  cat(jsonlite::toJSON(document, auto_unbox = TRUE, digits = NA, pretty = TRUE), "\n", sep = "")
}

# All 2^n rows of signs, n columns.
all_signs <- function(n) as.matrix(expand.grid(rep(list(c(-1, 1)), n)))

# All orders of 1..k, one a row.
all_orders <- function(k) {
  if (k == 1) return(matrix(1))
  shorter <- all_orders(k - 1)
  do.call(rbind, lapply(seq_len(k), function(first) {
    others <- setdiff(seq_len(k), first)
    cbind(first, matrix(others[shorter], nrow(shorter)), deparse.level = 0)
  }))
}

# Sums closer than this share of their size are tied, as floating-point addition depends on its order.
tie <- 1e-10
