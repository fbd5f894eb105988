//! The days that this customer's rows are of, for whoever adds them up: marked before the first row,
//! passed once none can follow (`tollgate_store::days`).

use std::collections::BTreeSet;

use tollgate_store::StoreError;

use super::Books;

impl Books {
    /// Before a row of `day` is written.
    pub(super) async fn begin_day(&mut self, day: &str) -> Result<(), StoreError> {
        if self.days.get(day) != Some(&true) {
            // Known from here on: a mark whose answer is lost must be passed too.
            self.days.insert(day.to_owned(), false);
            self.core.store.begin_day(&self.account.id, day, &self.core.session).await?;
            self.days.insert(day.to_owned(), true);
        }
        Ok(())
    }

    /// A row of `day` could not be written: until it can, others may have taken this life for dead and
    /// struck the mark.
    pub(super) fn doubt_day(&mut self, day: &str) {
        if let Some(stands) = self.days.get_mut(day) {
            *stands = false;
        }
    }

    /// Passes the days before `today`, or all, of which every row is written. `false`: the store failed;
    /// the next settlement makes up for it.
    pub(super) async fn pass_days(&mut self, today: Option<&str>) -> bool {
        let due: BTreeSet<String> = self.rows.due().into_iter().map(|((day, _), _)| day).collect();
        let over = |day: &&String| today.is_none_or(|today| day.as_str() < today) && !due.contains(*day);
        let passed: Vec<String> = self.days.keys().filter(over).cloned().collect();
        for day in passed {
            // Whatever comes of it: a row that follows all the same needs another mark.
            self.doubt_day(&day);
            let told = self.core.store.pass_day(&self.account.id, &day, &self.core.session).await;
            if !self.check(told.map(drop), "pass_day") {
                return false;
            }
            self.days.remove(&day);
        }
        true
    }
}
