"""Every micrograph and every act: searched, narrowed, mapped, exported; uploads."""
